"""What sigmoid_focal_loss refuses, and how it says so."""

import math
from typing import Any

import pytest
import torch

import fcos_ops

X, L = torch.zeros(4, 3), torch.zeros(4, dtype=torch.long)

BAD_INPUT = [
    (([1.0], L), {}, TypeError, "logits must be a torch.Tensor"),
    ((X.int(), L), {}, TypeError, "logits must have dtype"),
    ((X.to_sparse(), L), {}, TypeError, "logits must be a dense tensor"),
    ((torch.tensor(1.0), torch.tensor(0)), {}, ValueError, "logits must have shape"),
    ((X, None), {}, TypeError, "labels must be a torch.Tensor"),
    ((X, L.to(torch.uint8)), {}, TypeError, "labels must have dtype"),
    ((X, L[:3]), {}, ValueError, "labels must have shape"),
    ((X, X[:, :2]), {}, ValueError, "labels must have shape"),
    ((X, L.to("meta")), {}, ValueError, "labels must be on the device"),
    ((X, X.clone().requires_grad_()), {}, ValueError, "labels must not require a gradient"),
    ((X, L), {"alpha": 1.5}, ValueError, "alpha"),
    ((X, L), {"alpha": math.nan}, ValueError, "alpha"),
    ((X, L), {"gamma": -1}, ValueError, "gamma"),
    ((X, L), {"gamma": math.nan}, ValueError, "gamma"),
    ((X, L), {"gamma": math.inf}, ValueError, "gamma"),
    ((X, L), {"gamma": "2"}, TypeError, "gamma"),
    ((X, L), {"weight": X}, ValueError, "weight must have shape"),
    ((X, L), {"weight": L}, TypeError, "weight must have dtype"),
    ((X, L), {"reduction": "avg"}, ValueError, "reduction"),
    ((X, L), {"normalizer": 0.5}, ValueError, "normalizer"),
    ((X, L), {"normalizer": math.nan}, ValueError, "normalizer"),
    ((X, L), {"normalizer": "3"}, TypeError, "normalizer"),
    ((X, L), {"normalizer": torch.ones(2)}, ValueError, "normalizer"),
    ((X, L), {"normalizer": 2, "reduction": "mean"}, ValueError, "normalizer"),
    ((X, L), {"normalizer": 2, "normalizer_floor": -1}, ValueError, "normalizer_floor"),
]


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
@pytest.mark.parametrize("arguments, options, error, message", BAD_INPUT)
def test_bad_input(
    arguments: Any, options: Any, error: type[Exception], message: str, backend: str
) -> None:
    with fcos_ops.backend(backend), pytest.raises(error, match=message):
        fcos_ops.sigmoid_focal_loss(*arguments, **options)
