"""iou_loss of degenerate, huge and NaN boxes, of many equal ones, divided by next to nothing."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops
from fcos_ops import reference
from tests.common import TOLERANCE, assert_near
from tests.inputs.iou_loss import (
    FORMATS,
    KINDS,
    loss_and_gradients,
    make_pairs,
)


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_ties_and_degenerate_boxes(kind: str, dtype: torch.dtype) -> None:
    """Every pair of boxes on a grid of 4 x 2 points: shared edges, no width, inverted, disjoint."""
    x, y = (0.0, 1.0, 2.0, 4.0), (0.0, 1.0)
    boxes = list(itertools.product(x, y, x, y))
    pred, target = torch.tensor(list(itertools.product(boxes, boxes)), dtype=dtype).unbind(1)
    for box_format in FORMATS:
        results = []
        for function, real in ((fcos_ops.iou_loss, dtype), (reference.iou_loss, torch.float64)):
            pair = pred.to(real).requires_grad_(), target.to(real).requires_grad_()
            loss = function(*pair, kind=kind, box_format=box_format, reduction="none")
            results.append((loss[:, None], *torch.autograd.grad(loss.sum(), pair)))
        for actual, exact in zip(*results, strict=True):
            # By pair: the gradients of degenerate ones, of order 1 / eps, would hide the others.
            allowed = TOLERANCE[dtype] * (exact.norm(dim=1, keepdim=True) + 1)
            assert ((actual - exact).abs() <= allowed).all()


@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_finite_for_every_finite_box(kind: str, dtype: torch.dtype, box_format: str) -> None:
    largest = torch.finfo(dtype).max
    values = torch.tensor(
        [0, 1, 1e-3, 1e-22, 1e-41, -5, 3e4, 2.0**33, 1e30, -1e30, largest, -largest]
    )
    pred, target = values.to(dtype)[torch.randint(0, len(values), (2, 5000, 4))]
    turned_out = torch.tensor([[1e30, 1e30, 0, 0], [0, 0, -1e30, -1e30]], dtype=dtype)
    pred = torch.cat([pred, pred[:100], turned_out])
    target = torch.cat([target, pred[:100], turned_out.flip(0)])
    options = {"kind": kind, "box_format": box_format, "reduction": "none"}
    loss, *gradients = loss_and_gradients(fcos_ops.iou_loss, pred, target, **options)
    assert loss.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)
    if dtype == torch.float64:  # float32 has too few digits for a side of 1 at 1e9
        assert torch.allclose(loss, reference.iou_loss(pred, target, **options), rtol=1e-9)


@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_clamped_box_changes_no_other(kind: str, box_format: str) -> None:
    """A block with a coordinate beyond the limit takes another loop: same results, bit by bit."""
    options = {"kind": kind, "box_format": box_format, "reduction": "none"}

    def gradients(pred: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        pair = pred.clone().requires_grad_(), target.clone().requires_grad_()
        loss = fcos_ops.iou_loss(*pair, **options)
        return loss.detach(), *torch.autograd.grad(loss.sum(), pair)

    for dtype in (torch.float32, torch.float64):
        pred, target = (boxes.to(dtype) for boxes in make_pairs((251,), box_format))
        pred[:50, 0] = target[:50, 0]  # shared edges
        pred[60, 1] = pred[61, 2] = target[62, 0] = target[63, 3] = math.nan
        plain = gradients(pred, target)
        for coordinate in range(4):
            far = target[-1:].clone()
            far[0, coordinate ^ 1] = math.nan  # must not hide its neighbour
            far[0, coordinate] = 1e30
            results = gradients(torch.cat([pred, far]), torch.cat([target, target[-1:]]))
            for result, expected in zip(results, plain, strict=True):
                torch.testing.assert_close(result[:-1], expected, rtol=0, atol=0, equal_nan=True)
            assert results[1][-1].isnan().all()  # as of every pair with a NaN


@pytest.mark.every_device
@pytest.mark.parametrize("box_format", ["xyxy", "ltrb"])
@pytest.mark.parametrize("kind", KINDS)
def test_nan_stays_in_its_pair(kind: str, box_format: str) -> None:
    """And fills the loss and both gradients of that, even of boxes inside out or beyond limits."""
    good = make_pairs((9,), "xyxy")[0].float()
    bad = torch.stack([good, good[:, [2, 3, 0, 1]], good[:, [0, 3, 2, 1]], good * 1e30])
    good = good.expand(4, 9, 4)
    for i in range(4):
        bad[:, i, i] = math.nan
    expected = [True] * 4 + [False] * 5
    options: Any = {"kind": kind, "box_format": box_format}
    for pair in ((bad, good), (good, bad)):
        for function in (fcos_ops.iou_loss, reference.iou_loss):
            for result in loss_and_gradients(function, *pair, reduction="none", **options):
                found = result.reshape(4, 9, -1).isnan()
                assert found.all(2).tolist() == found.any(2).tolist() == [expected] * 4
            assert function(*pair, **options).isnan()
    weight = torch.ones(9)
    weight[7] = math.nan
    loss = fcos_ops.iou_loss(good[0], good[0] + 1, kind=kind, weight=weight, reduction="none")
    assert loss.isnan().nonzero().tolist() == [[7]]


@pytest.mark.every_device
@pytest.mark.parametrize("kind", KINDS)
def test_sum_of_many_equal_pairs(kind: str) -> None:
    """No random signs help the rounding errors."""
    for _ in range(4):
        pred, target = (boxes.float().expand(9000, 4) for boxes in make_pairs((1,), "xyxy"))
        exact = reference.iou_loss(pred.double(), target.double(), kind=kind)
        assert_near(fcos_ops.iou_loss(pred, target, kind=kind), exact, torch.float32)


@pytest.mark.every_device
def test_tiny_normalizers() -> None:
    """Nothing is divided by less than the smallest normal number of the maths."""
    pred, target = make_pairs((9,), "xyxy")
    for dtype in (torch.float32, torch.float64):
        tiny = torch.finfo(dtype).tiny
        options: Any = {"normalizer_floor": 0.0, "reduction": "none", "kind": "linear_iou"}
        for value in (0.0, tiny / 8, tiny):
            divisor = torch.tensor(value, dtype=dtype)
            loss = fcos_ops.iou_loss(
                pred.to(dtype), target.to(dtype), normalizer=divisor, **options
            )
            exact = reference.iou_loss(
                pred.to(dtype), target.to(dtype), normalizer=divisor, **options
            )
            assert loss.isfinite().all()
            assert_near(loss * tiny, exact * tiny, dtype)
