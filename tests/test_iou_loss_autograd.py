"""The derivative of iou_loss."""

import pytest
import torch

import fcos_ops
from fcos_ops import reference
from tests.common import assert_near
from tests.inputs.iou_loss import FORMATS, KINDS, make_pairs
from tests.test_memory import allocated_bytes


def test_float16_gradient_survives_its_loss_scale() -> None:
    """Gradients below half's range come out right once the loss is scaled up."""
    pred, target = (boxes.half() for boxes in make_pairs((64,), "ltrb"))
    for boxes, other in ((pred, target), (target.clone(), pred.float())):
        boxes.requires_grad_()
        exact = boxes.detach().double().requires_grad_()
        for function, x in ((fcos_ops.iou_loss, boxes), (reference.iou_loss, exact)):
            loss = function(x, other.to(x.dtype), box_format="ltrb", normalizer=1e7) * 2.0**22
            loss.backward()
        assert exact.grad.abs().max() / 2.0**22 < 6e-8  # the smallest subnormal half
        assert_near(boxes.grad, exact.grad, torch.float16)


def test_gradient_under_retain_graph_and_scaling() -> None:
    pred, target = (boxes.float().requires_grad_() for boxes in make_pairs((9,), "xyxy"))
    once = torch.autograd.grad(fcos_ops.iou_loss(pred, target), (pred, target))
    loss = fcos_ops.iou_loss(pred, target)
    kept = torch.autograd.grad(3 * loss, (pred, target), retain_graph=True)
    again = torch.autograd.grad(loss, (pred, target))
    for i in range(2):
        assert torch.equal(again[i], once[i]) and torch.allclose(kept[i], 3 * once[i])


def test_second_derivative_raises_instead_of_vanishing() -> None:
    pred, target = (boxes.float().requires_grad_() for boxes in make_pairs((9,), "xyxy"))
    loss = fcos_ops.iou_loss(pred, target)
    (gradient,) = torch.autograd.grad(loss, pred, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiated only once"):
        (gradient.square().sum() + pred.sum()).backward()


def test_no_gradient_is_computed_where_none_is_asked_for() -> None:
    pred, target = (boxes.float() for boxes in make_pairs((5000,), "xyxy"))
    assert allocated_bytes(lambda: fcos_ops.iou_loss(pred, target)) <= 4096
    pred.requires_grad_()
    with torch.no_grad():
        assert not fcos_ops.iou_loss(pred, target).requires_grad
    with torch.inference_mode():
        assert not fcos_ops.iou_loss(pred, target).requires_grad
    fcos_ops.iou_loss(pred, target).backward()
    assert pred.grad is not None and target.grad is None


@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS[:4])  # the reference tests say what ciou's gradient is
def test_gradcheck(kind: str, box_format: str) -> None:
    pred, target = (boxes.requires_grad_() for boxes in make_pairs((6,), box_format))
    for reduction in ("sum", "mean", "none"):
        torch.autograd.gradcheck(
            lambda p, t, reduction=reduction: fcos_ops.iou_loss(
                p, t, kind=kind, box_format=box_format, reduction=reduction
            ),
            (pred, target),
        )
