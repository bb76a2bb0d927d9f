"""What iou_loss refuses, and how it says so."""

import math
from typing import Any

import pytest
import torch

import fcos_ops

P = torch.rand(5, 4)

BAD_INPUT = [
    (([1.0], P), {}, TypeError, "pred must be a torch.Tensor"),
    ((P.int(), P), {}, TypeError, "pred must have dtype"),
    ((P.to_sparse(), P), {}, TypeError, "pred must be a dense tensor"),
    ((torch.tensor(1.0), P), {}, ValueError, "pred must have shape"),
    ((P[:, :3], P[:, :3]), {}, ValueError, "pred must have shape"),
    ((P, None), {}, TypeError, "target must be a torch.Tensor"),
    ((P, P.long()), {}, TypeError, "target must have dtype"),
    ((P, P[:3]), {}, ValueError, "target must have shape"),
    ((P, P[0]), {}, ValueError, "target must have shape"),
    ((P, P.to("meta")), {}, ValueError, "target must be on the device"),
    ((P, P), {"kind": "eiou"}, ValueError, "kind must be one of"),
    ((P, P), {"box_format": "cxcywh"}, ValueError, "box_format must be one of"),
    ((P, P), {"eps": 0}, ValueError, "eps"),
    ((P, P), {"eps": math.nan}, ValueError, "eps"),
    ((P, P), {"eps": math.inf}, ValueError, "eps"),
    ((P, P), {"eps": "1"}, TypeError, "eps"),
    ((P, P), {"weight": P}, ValueError, "weight must have shape"),
    ((P, P), {"weight": torch.ones(5).long()}, TypeError, "weight must have dtype"),
    (
        (P, P),
        {"weight": torch.ones(5, requires_grad=True)},
        ValueError,
        "weight must not require a gradient",
    ),
    ((P, P), {"reduction": "avg"}, ValueError, "reduction"),
    ((P, P), {"normalizer": 0.0}, ValueError, "normalizer"),
    ((P, P), {"normalizer": torch.ones(2)}, ValueError, "normalizer"),
    ((P, P), {"normalizer": 2, "reduction": "mean"}, ValueError, "normalizer"),
]


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
@pytest.mark.parametrize("arguments, options, error, message", BAD_INPUT)
def test_bad_input(
    arguments: Any, options: Any, error: type[Exception], message: str, backend: str
) -> None:
    with fcos_ops.backend(backend), pytest.raises(error, match=message):
        fcos_ops.iou_loss(*arguments, **options)
