"""Inputs for the tests of the centerness ops, and the comparison with the reference."""

from typing import Any

import torch
from torch import Tensor

import fcos_ops
from fcos_ops import reference
from tests.common import assert_near

SHAPES = [(), (0,), (1,), (7,), (33,), (3, 0), (2, 1025), (2, 3, 4, 5, 6)]


def make_ltrb(shape: tuple[int, ...]) -> Tensor:
    """Mostly inside their boxes, some with a side that is zero or negative."""
    ltrb = torch.rand(*shape, 4, dtype=torch.float64) * 100
    return torch.where(torch.rand(ltrb.shape) < 0.05, -ltrb.floor(), ltrb)


def loss_and_gradient(function: Any, logits: Tensor, target: Tensor, **options: Any) -> Any:
    logits = logits.detach().requires_grad_()
    loss = function(logits, target, **options)
    weights = torch.linspace(500, 2000, loss.numel(), dtype=torch.float64).reshape(loss.shape)
    loss.backward(weights.to(loss.dtype))
    return loss.detach(), logits.grad


def assert_matches_reference(logits: Tensor, target: Tensor, **options: Any) -> None:
    loss, gradient = loss_and_gradient(fcos_ops.centerness_loss, logits, target, **options)
    exact_loss, exact_gradient = loss_and_gradient(
        reference.centerness_loss, logits.double(), target, **options
    )
    real = torch.float64 if logits.dtype == torch.float64 else torch.float32
    assert loss.dtype == real and gradient.dtype == logits.dtype
    assert_near(loss, exact_loss, real)
    assert_near(gradient, exact_gradient, logits.dtype)
