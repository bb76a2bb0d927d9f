"""iou_loss against the float64 reference."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fcos_ops
from tests.common import DTYPES
from tests.inputs.iou_loss import (
    FORMATS,
    KINDS,
    assert_matches_reference,
    loss_and_gradients,
    make_pairs,
)

SHAPES = [(0,), (1,), (7,), (9,), (257,), (2, 3, 2, 2)]  # around vector widths, blocks of 256


@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_dtype_and_reduction(shape: tuple[int, ...], kind: str, box_format: str) -> None:
    pred, target = make_pairs(shape, box_format)
    weight, total = torch.rand(shape), torch.tensor(3)
    options = {"kind": kind, "box_format": box_format}
    for dtype in DTYPES:
        pair = pred.to(dtype), target.to(dtype)
        assert_matches_reference(*pair, **options, reduction="none", normalizer=7.0)
        assert_matches_reference(*pair, **options, reduction="mean", weight=weight)
        assert_matches_reference(*pair, **options, normalizer=total)


@pytest.mark.every_device
@pytest.mark.parametrize("count", [1, 1025, 2048, 2049, 64 * 256, 64 * 256 + 1])
def test_many_boxes(count: int) -> None:
    """With and without a workspace: up to 2048 boxes on a GPU, and 64 blocks of them on a CPU, need
    none."""
    pred, target = (boxes.float() for boxes in make_pairs((count,), "xyxy"))
    assert_matches_reference(pred, target)
    alone = fcos_ops.iou_loss(pred, target)  # without a gradient
    assert torch.equal(alone, fcos_ops.iou_loss(pred.requires_grad_(), target).detach())


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_dtypes(kind: str) -> None:
    pred, target = make_pairs((40,), "xyxy")
    for one, other in itertools.combinations(DTYPES, 2):
        for reduction in ("sum", "none"):
            assert_matches_reference(pred.to(one), target.to(other), kind=kind, reduction=reduction)


@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_exact_for_identical_boxes_and_in_exchange(kind: str, box_format: str) -> None:
    options = {"kind": kind, "box_format": box_format, "reduction": "none"}
    for dtype in (torch.float32, torch.float64):
        pred, target = (boxes.to(dtype) for boxes in make_pairs((999,), box_format))
        loss, *gradients = loss_and_gradients(fcos_ops.iou_loss, pred, target, **options)
        swapped = loss_and_gradients(fcos_ops.iou_loss, target, pred, **options)
        assert torch.equal(loss, swapped[0])
        assert all(torch.equal(a, b) for a, b in zip(gradients, swapped[:0:-1], strict=True))
        same = fcos_ops.iou_loss(pred, pred, **options)
        # Up to the eps beside the area, of which float32 sees nothing.
        assert (same == 0).all() if dtype == torch.float32 else same.abs().max() < 1e-7


def test_result_does_not_depend_on_threads_or_runs() -> None:
    pred, target = (boxes.float() for boxes in make_pairs((3, 20000), "ltrb"))
    for p, t in ((pred, target), (pred.permute(1, 0, 2), target.permute(1, 0, 2))):
        results = []
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            results.append(loss_and_gradients(fcos_ops.iou_loss, p, t, box_format="ltrb"))
        for other in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(other, results[0], strict=True))


def test_normalizer() -> None:
    pred, target = make_pairs((8,), "xyxy")
    plain = fcos_ops.iou_loss(pred, target)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.int32, torch.int64):
        divided = fcos_ops.iou_loss(pred, target, normalizer=torch.tensor([4], dtype=dtype))
        assert torch.allclose(divided, plain / 4)
    zero = torch.tensor(0.0)
    assert torch.allclose(fcos_ops.iou_loss(pred, target, normalizer=zero), plain * 1e6)
    weight = torch.zeros(8)
    assert fcos_ops.iou_loss(pred, target, weight=weight, normalizer=weight.sum()) == 0


@given(
    rows=st.integers(0, 600),
    kind=st.sampled_from(KINDS),
    box_format=st.sampled_from(FORMATS),
    eps=st.sampled_from([1e-7, 1e-3, 1.0]),
    scale=st.sampled_from([0.1, 1.0, 1e4]),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=60)
def test_any_boxes(
    rows: int, kind: str, box_format: str, eps: float, scale: float, seed: int
) -> None:
    torch.manual_seed(seed)
    pred, target = (boxes.float() * scale for boxes in make_pairs((rows,), box_format))
    assert_matches_reference(pred, target, kind=kind, box_format=box_format, eps=eps)
