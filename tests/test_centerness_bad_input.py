"""What centerness_target and centerness_loss refuse, and how they say so."""

from typing import Any

import pytest
import torch

import fcos_ops

X, T = torch.zeros(4), torch.zeros(4)

BAD_LOSS_INPUT = [
    (([1.0], T), {}, TypeError, "logits must be a torch.Tensor"),
    ((X.int(), T), {}, TypeError, "logits must have dtype"),
    ((X, T.int()), {}, TypeError, "target must have dtype"),
    ((X, T[:3]), {}, ValueError, "target must have shape"),
    ((X, T.to("meta")), {}, ValueError, "target must be on the device"),
    ((X, T.clone().requires_grad_()), {}, ValueError, "target must not require a gradient"),
    ((X, T), {"mask": X}, TypeError, "mask must have dtype"),
    ((X, T), {"mask": X[:2] > 0}, ValueError, "mask must have shape"),
    ((X, T), {"labels": X}, TypeError, "labels must have dtype"),
    ((X, T), {"labels": X[:2].long()}, ValueError, "labels must have shape"),
    (
        (X, T),
        {"labels": X.long(), "mask": X > 0},
        ValueError,
        "mask must be None where labels are given, got torch.bool",
    ),
    ((X, T), {"reduction": "avg"}, ValueError, "reduction"),
    ((X, T), {"normalizer": 0.5}, ValueError, "normalizer"),
    ((X, T), {"normalizer": 2, "reduction": "mean"}, ValueError, "normalizer"),
]


@pytest.mark.parametrize("arguments, options, error, message", BAD_LOSS_INPUT)
def test_bad_loss_input(arguments: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fcos_ops.centerness_loss(*arguments, **options)


@pytest.mark.parametrize(
    "ltrb, error, message",
    [
        (None, TypeError, "ltrb must be a torch.Tensor"),
        (torch.zeros(3, 4).long(), TypeError, "ltrb must have dtype"),
        (torch.zeros(3, 5), ValueError, "ltrb must have shape"),
        (torch.tensor(1.0), ValueError, "ltrb must have shape"),
        (torch.zeros(3, 4, requires_grad=True), ValueError, "ltrb must not require a gradient"),
    ],
)
def test_bad_target_input(ltrb: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fcos_ops.centerness_target(ltrb)
