"""The derivative of sigmoid_focal_loss."""

import pytest
import torch

import fcos_ops
from fcos_ops import reference
from tests.common import assert_near
from tests.inputs.focal_loss import GAMMAS


def test_float16_gradient_survives_its_loss_scale() -> None:
    """A gradient of 4e-9, below half's range, comes out right once the loss is scaled up."""
    logits = torch.full((64, 80), -4.6, dtype=torch.float16, requires_grad=True)
    labels = torch.full((64,), -1)
    scale = 2.0**16
    loss = fcos_ops.sigmoid_focal_loss(logits, labels, normalizer=5000.0)
    (loss * scale).backward()
    x = logits.detach().double().requires_grad_()
    (reference.sigmoid_focal_loss(x, labels, normalizer=5000.0) * scale).backward()
    assert x.grad.abs().max() / scale < 6e-8  # the smallest subnormal half
    assert_near(logits.grad, x.grad, torch.float16)


def test_gradient_under_retain_graph_and_scaling() -> None:
    logits = torch.randn(8, 5, requires_grad=True)
    labels = torch.randint(-1, 5, (8,))
    (once,) = torch.autograd.grad(fcos_ops.sigmoid_focal_loss(logits, labels), logits)
    loss = fcos_ops.sigmoid_focal_loss(logits, labels)
    (kept,) = torch.autograd.grad(3 * loss, logits, retain_graph=True)
    (again,) = torch.autograd.grad(loss, logits)
    assert torch.equal(again, once) and torch.allclose(kept, 3 * once)


def test_second_derivative_raises_instead_of_vanishing() -> None:
    logits = torch.randn(8, 5, requires_grad=True)
    labels = torch.randint(-1, 5, (8,))
    loss = fcos_ops.sigmoid_focal_loss(logits, labels)
    (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiated only once"):
        (gradient.square().sum() + logits.sum()).backward()


def test_no_gradient_is_computed_where_none_is_asked_for() -> None:
    logits = torch.randn(8, 5, requires_grad=True)
    labels = torch.randint(-1, 5, (8,))
    with torch.no_grad():
        assert not fcos_ops.sigmoid_focal_loss(logits, labels).requires_grad
    with torch.inference_mode():
        assert not fcos_ops.sigmoid_focal_loss(logits, labels).requires_grad


def test_autocast_leaves_the_logits_as_they_are() -> None:
    layer, labels = torch.nn.Linear(16, 20), torch.randint(-1, 20, (50,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = layer(torch.randn(50, 16))
        loss = fcos_ops.sigmoid_focal_loss(logits, labels)
    assert logits.dtype == torch.bfloat16 and loss.dtype == torch.float32
    assert_near(loss, reference.sigmoid_focal_loss(logits.double(), labels).detach(), torch.float32)
    loss.backward()
    assert layer.weight.grad is not None and layer.weight.grad.isfinite().all()


def test_gradcheck() -> None:
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    for labels in (torch.tensor([0, -1, 2, -2]), torch.rand(4, 3)):
        for gamma in GAMMAS:
            for reduction in ("sum", "mean", "none"):
                torch.autograd.gradcheck(
                    lambda x, labels=labels, gamma=gamma, reduction=reduction: (
                        fcos_ops.sigmoid_focal_loss(x, labels, gamma=gamma, reduction=reduction)
                    ),
                    logits,
                )
