"""nms and batched_nms against the reference, index for index: boxes of all kinds, odd values."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import fcos_ops
from tests.common import DTYPES
from tests.inputs.nms import (
    INF,
    LAYOUTS,
    NAN,
    THRESHOLDS,
    assert_batched_nms,
    assert_nms,
    corners,
    huge,
    identical,
    integral,
    special,
    tied,
    uniform,
)

pytestmark = pytest.mark.usefixtures("one_thread")

# Numbers of boxes in a class: around the block of 8, vector widths, and the first grids (64 boxes).
CLASS_SIZES = [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129]


@pytest.mark.every_device
@pytest.mark.parametrize("layout", LAYOUTS)
def test_equals_the_reference(layout: Callable[[int], Tensor]) -> None:
    ids = torch.arange(len(CLASS_SIZES)).repeat_interleave(torch.tensor(CLASS_SIZES))
    for threshold in THRESHOLDS:
        ids = ids[torch.randperm(len(ids))]
        assert_batched_nms(layout(len(ids)), tied(len(ids)), ids, threshold)
    for n in (0, 1, 2, 33, 150):
        assert_nms(layout(n), tied(n), 0.5)


@pytest.mark.every_device
@pytest.mark.parametrize("score_dtype", DTYPES)
@pytest.mark.parametrize("box_dtype", DTYPES)
def test_every_pair_of_dtypes(box_dtype: torch.dtype, score_dtype: torch.dtype) -> None:
    for layout in (integral, huge, special):
        boxes, scores = layout(200).to(box_dtype), torch.randn(200).to(score_dtype)
        assert_batched_nms(boxes, scores, torch.randint(0, 9, (200,), dtype=torch.int32), 0.5)


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_of_all_magnitudes(dtype: torch.dtype) -> None:
    n = 3000
    scores = torch.randn(n, dtype=dtype) * 10 ** (torch.rand(n, dtype=dtype) * 60 - 30)
    scores[::5] = scores[::5] * 1e-14  # some subnormal in float32
    scores[:600:7] = torch.tensor([0.0, -0.0, INF, -INF, NAN], dtype=dtype).repeat(18)[:86]
    boxes = corners(torch.arange(n, dtype=dtype)[:, None].expand(-1, 2) * 2, torch.ones(n, 2))
    keep = fcos_ops.nms(boxes, scores, 0.5)
    assert torch.equal(keep, scores.argsort(descending=True, stable=True)[scores.isnan().sum() :])


@pytest.mark.every_device
def test_the_rule_is_rounded() -> None:
    """Pairs of IoU 1 / 2, but for the rounding of their corners."""
    n = 1000
    first = torch.rand(n, 2) * 10
    pairs = torch.stack([corners(first, torch.full((n, 2), 3.0))] * 2, 1)
    pairs[:, 1, ::2] += 1.0
    boxes, scores, ids = (
        pairs.reshape(-1, 4),
        torch.rand(2 * n),
        torch.arange(n).repeat_interleave(2),
    )
    assert_batched_nms(boxes, scores, ids, 0.5)
    keep = fcos_ops.batched_nms(boxes, scores, ids, 0.5)
    exact = fcos_ops.batched_nms(boxes.double(), scores, ids, 0.5)
    assert n < len(keep) < 2 * n and not torch.equal(keep, exact)


def sites(n: int, distance: float) -> Tensor:
    """n points of a square lattice."""
    side = math.isqrt(n) + 1
    return torch.stack([torch.arange(n) % side, torch.arange(n) // side], 1) * distance


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.6])
def test_pairs_as_far_apart_as_the_threshold_allows(threshold: float) -> None:
    """One box in the other and along three of its sides, IoU just above the threshold: no pair of
    this IoU has centres further apart, so none lies nearer to the edge of what a grid looks at."""
    n = 2000
    small = torch.rand(n, 2) * 40 + 5
    longer = torch.arange(2) == torch.randint(0, 2, (n, 1))
    large = small * torch.where(longer, 1 / (threshold * (1 + torch.rand(n, 1) * 0.02)), 1.0)
    corner = sites(n, 300.0) + torch.rand(n, 2) * 150
    other = corner + (large - small) * torch.randint(0, 2, (n, 1))
    boxes = torch.cat([corners(corner, large), corners(other, small)])
    assert_nms(boxes, torch.rand(2 * n), threshold)


def test_pairs_whose_centers_round() -> None:
    """As above, where neighbouring float32 numbers are a pixel apart: 3 rounds to 4."""
    n = 2000
    small = torch.full((n, 2), 3.0)
    large = torch.where(torch.arange(2) == torch.randint(0, 2, (n, 1)), 9.0, 3.0)
    corner = sites(n, 15.0) + torch.randint(0, 2, (n, 2)) + 2.0**23
    other = corner + (large - small) * torch.randint(0, 2, (n, 1))
    boxes = torch.cat([corners(corner, large), corners(other, small)])
    assert_nms(boxes, torch.rand(2 * n), 0.3)


def test_pairs_that_only_rounding_to_subnormals_makes_overlap() -> None:
    """Areas of one or two times the smallest subnormal: intersections round up to them."""
    n = 2000
    size = torch.rand(n, 1) * 2e-23 + 4e-23
    corner = sites(n, 4 * 5e-23)
    shift = size * (0.4 + 0.3 * torch.rand(n, 1)) * torch.tensor([1.0, 0.0])
    size = size.expand(n, 2)
    boxes = torch.cat([corners(corner, size), corners(corner + shift, size)])
    scores = torch.rand(2 * n)
    assert_nms(boxes, scores, 0.5)
    larger = fcos_ops.nms(boxes * 1e23, scores, 0.5)
    assert len(fcos_ops.nms(boxes, scores, 0.5)) < len(larger)


@pytest.mark.every_device
def test_ids_are_compared_and_nothing_else() -> None:
    boxes, scores = uniform(600), torch.rand(600)
    extreme = torch.tensor([0, 1, -1, 2**63 - 1, -(2**63), 2**32, 2**31, -(2**31), 2**62])
    ids = extreme[torch.randint(0, len(extreme), (600,))]
    assert_batched_nms(boxes, scores, ids, 0.3)
    assert_batched_nms(boxes, scores, ids.clamp(-(2**31), 2**31 - 1).int(), 0.3)
    for step in (1, 1_000_003, 2**32, 2**53):
        everyone_alone = torch.randperm(600) * step
        assert len(fcos_ops.batched_nms(identical(600), scores, everyone_alone, 0.0)) == 600


@pytest.mark.parametrize(
    "strided",
    [
        lambda x: x.t().contiguous().t() if x.dim() == 2 else x[:],
        lambda x: torch.stack([x, x * 0 - 7], 1)[:, 0],
        lambda x: x.repeat(2, *[1] * (x.dim() - 1))[::2],
        lambda x: x.flip(0),
        lambda x: x[:1].expand_as(x),
        lambda x: torch.cat([x[:3], x])[3:],
    ],
    ids=["transpose", "slice", "step", "flip", "expand", "offset"],
)
def test_strides(strided: Callable[[Tensor], Tensor]) -> None:
    boxes, scores, ids = strided(uniform(99)), strided(tied(99)), strided(torch.arange(99) % 4)
    assert_batched_nms(boxes, scores, ids, 0.4)


@given(
    n=st.integers(0, 150),
    layout=st.sampled_from(LAYOUTS),
    classes=st.integers(1, 5),
    threshold=st.one_of(st.sampled_from(THRESHOLDS), st.floats(0, 1)),
    scale=st.sampled_from([1.0, 1.0, 1e-3, 1e4, 3e-20, 1e17]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=200)
def test_any_boxes(
    n: int,
    layout: Callable[[int], Tensor],
    classes: int,
    threshold: float,
    scale: float,
    dtype: torch.dtype,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    boxes = (layout(n) * scale).to(dtype)
    assert_batched_nms(boxes, tied(n), torch.randint(0, classes, (n,)), threshold)
