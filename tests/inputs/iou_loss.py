"""Pairs of boxes for the tests of iou_loss, and the comparison with the reference."""

from typing import Any

import torch
from torch import Tensor

import fcos_ops
from fcos_ops import reference
from tests.common import assert_near

KINDS = ("iou", "linear_iou", "giou", "diou", "ciou")

FORMATS = ("xyxy", "ltrb")


def make_pairs(shape: tuple[int, ...], box_format: str) -> tuple[Tensor, Tensor]:
    """Boxes of 1 to 100 pixels; the second of each pair near the first, or anywhere."""
    if box_format == "ltrb":
        return torch.rand(*shape, 4).double() * 20 + 1, torch.rand(*shape, 4).double() * 20 + 1
    corner, size = torch.rand(2, *shape, 2).double() * 100
    first = torch.cat([corner, corner + size + 1], -1)
    return first, first + torch.randn(*shape, 4).double() * 7


def loss_and_gradients(
    function: Any, pred: Tensor, target: Tensor, **options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    pred, target = pred.detach().requires_grad_(), target.detach().requires_grad_()
    loss = function(pred, target, **options)
    # As large as a loss scale: a float16 gradient would be subnormal without one.
    weights = torch.linspace(500, 2000, loss.numel(), dtype=torch.float64).reshape(loss.shape)
    gradients = torch.autograd.grad(loss, (pred, target), weights.to(loss.dtype))
    return loss.detach(), *gradients


def assert_matches_reference(pred: Tensor, target: Tensor, **options: Any) -> None:
    actual = loss_and_gradients(fcos_ops.iou_loss, pred, target, **options)
    exact = loss_and_gradients(reference.iou_loss, pred.double(), target.double(), **options)
    real = torch.float64 if torch.float64 in (pred.dtype, target.dtype) else torch.float32
    assert [a.dtype for a in actual] == [real, pred.dtype, target.dtype]
    for a, e, dtype in zip(actual, exact, (real, pred.dtype, target.dtype), strict=True):
        assert_near(a, e, real if dtype == torch.float64 else dtype)
