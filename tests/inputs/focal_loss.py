"""Inputs for the tests of sigmoid_focal_loss, and the comparison with the reference."""

from typing import Any

import torch
from torch import Tensor

import fcos_ops
from fcos_ops import reference
from tests.common import assert_near

GAMMAS = [0.0, 0.5, 1.0, 2.0, 3.3]


def make_labels(logits: Tensor, dense: bool) -> Tensor:
    """Mostly background, with every kind of label; or soft targets with exact 0s and 1s."""
    if dense:
        targets = torch.rand(logits.shape) * 1.4 - 0.2
        return targets.clamp(0, 1)
    labels = torch.randint(-2, max(logits.shape[-1], 1), logits.shape[:-1])
    return torch.where(torch.rand(labels.shape) < 0.5, -1, labels)


def positives(labels: Tensor, logits: Tensor) -> Tensor:
    if labels.is_floating_point():
        return labels > 0.5
    return labels[..., None] == torch.arange(logits.shape[-1])


def loss_and_gradient(function: Any, logits: Tensor, labels: Tensor, **options: Any) -> Any:
    logits = logits.detach().requires_grad_()
    loss = function(logits, labels, **options)
    # As large as a loss scale: a float16 gradient would be subnormal without one.
    weights = torch.linspace(500, 2000, loss.numel(), dtype=torch.float64).reshape(loss.shape)
    loss.backward(weights.to(loss.dtype))
    return loss.detach(), logits.grad


def assert_matches_reference(logits: Tensor, labels: Tensor, **options: Any) -> None:
    loss, gradient = loss_and_gradient(fcos_ops.sigmoid_focal_loss, logits, labels, **options)
    exact_loss, exact_gradient = loss_and_gradient(
        reference.sigmoid_focal_loss, logits.double(), labels, **options
    )
    real = torch.float64 if logits.dtype == torch.float64 else torch.float32
    assert loss.dtype == real and gradient.dtype == logits.dtype
    where = positives(labels, logits)
    assert_near(loss, exact_loss, real, where if loss.shape == where.shape else None)
    assert_near(gradient, exact_gradient, logits.dtype, where)
