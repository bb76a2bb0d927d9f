"""nms, batched_nms, nms_padded against the reference, index for index, and as citizens of torch."""

import math
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import fcos_ops
from fcos_ops import reference
from tests.common import DTYPES
from tests.repository import REPOSITORY

INF, NAN = math.inf, math.nan
THRESHOLDS = [0.0, 0.05, 0.3, 0.5, 0.6, 1.0]
# Numbers of boxes in a class: around the block of 8, vector widths, and the first grids (64 boxes).
CLASS_SIZES = [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129]


@pytest.fixture(autouse=True)
def _one_thread(_seed_and_threads: None) -> None:
    """The reference runs many tiny operations, for which threads cost more than they bring."""
    torch.set_num_threads(1)


def corners(left_top: Tensor, size: Tensor) -> Tensor:
    return torch.cat([left_top, left_top + size], 1)


def uniform(n: int) -> Tensor:
    return corners(torch.rand(n, 2) * 300 - 100, torch.rand(n, 2) * 60 + 4)


def integral(n: int) -> Tensor:
    """Many overlaps exactly at the thresholds."""
    return corners(torch.randint(0, 12, (n, 2)).float(), torch.randint(0, 7, (n, 2)).float())


def clustered(n: int) -> Tensor:
    """As a detector gives: jittered copies of n / 20 boxes."""
    centers = uniform(n // 20 + 1)
    return centers[torch.randint(0, len(centers), (n,))] + torch.randn(n, 4) * 2


def of_all_sizes(n: int) -> Tensor:
    """Sides over six decades, each by itself."""
    return corners(torch.rand(n, 2) * 300, 10 ** (torch.rand(n, 2) * 6 - 3))


def bars(n: int) -> Tensor:
    """Longer than the image, one pixel thin, both ways."""
    size = torch.tensor([[1000.0, 1.5], [1.5, 1000.0]])[torch.randint(0, 2, (n,))]
    return corners(torch.rand(n, 2) * 40 - 500, size)


def far_away(n: int) -> Tensor:
    """Where neighbouring float32 numbers are up to a pixel apart, and one box at the origin."""
    boxes = uniform(n) * torch.tensor([1.0, 0.5, 1, 0.5]) + torch.tensor([8.3e6, -4.2e6] * 2)
    boxes[:1] = torch.tensor([0.0, 0, 1, 1])
    return boxes


def tiny(n: int) -> Tensor:
    """Areas that underflow: subnormal, or zero; a few are of normal size."""
    exponent = torch.tensor([-23.0, -22.0, -21.0, -19.0])[torch.randint(0, 4, (n, 1))]
    boxes = integral(n) * 10**exponent
    boxes[::9] = boxes[::9] * 1e22
    return boxes


def huge(n: int) -> Tensor:
    """Areas, or their sums, that overflow."""
    exponent = torch.tensor([17.0, 18.5, 20.0, 37.0])[torch.randint(0, 4, (n, 1))]
    return integral(n) * 10**exponent


def identical(n: int) -> Tensor:
    return torch.tensor([[3.0, 4, 9, 11]]).repeat(n, 1)


def special(n: int) -> Tensor:
    """NaN, infinities, inverted boxes among ordinary ones."""
    boxes = uniform(n)
    values = torch.tensor([NAN, INF, -INF, -INF, INF, -0.0, 0.0, 1e38, -1e38])
    where = torch.rand(n, 4) < 0.15
    return torch.where(where, values[torch.randint(0, len(values), (n, 4))], boxes)


LAYOUTS = [
    *(uniform, integral, clustered, of_all_sizes, bars),
    *(far_away, tiny, huge, identical, special),
]


def tied(n: int) -> Tensor:
    """Scores of 30 values, both zeros among them."""
    return torch.randint(-15, 15, (n,)) * torch.tensor(0.125)


def assert_nms(boxes: Tensor, scores: Tensor, threshold: float) -> None:
    keep = fcos_ops.nms(boxes, scores, threshold)
    assert keep.dtype == torch.int64 and keep.is_contiguous()
    assert torch.equal(keep, reference.nms(boxes, scores, threshold))


def assert_batched_nms(boxes: Tensor, scores: Tensor, ids: Tensor, threshold: float) -> None:
    keep = fcos_ops.batched_nms(boxes, scores, ids, threshold)
    assert keep.dtype == torch.int64 and keep.is_contiguous()
    assert torch.equal(keep, reference.batched_nms(boxes, scores, ids, threshold))


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


@pytest.mark.every_device
@pytest.mark.parametrize("n", [4095, 4096, 4097])
@pytest.mark.parametrize("layout", [clustered, bars])
def test_thousands(n: int, layout: Callable[[int], Tensor]) -> None:
    assert_batched_nms(layout(n), tied(n), torch.randint(0, 80, (n,)), 0.5)
    assert_nms(clustered(n)[torch.randint(0, 40, (n,))], tied(n), 0.5)


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


def test_300_000() -> None:
    n = 300_000
    places = corners(torch.rand(40, 2) * 1000, torch.rand(40, 2) * 99 + 1)
    boxes = places[torch.randint(0, 40, (n,))]
    assert_batched_nms(boxes, torch.rand(n), torch.randint(0, 20, (n,)), 0.5)
    apart = corners(torch.arange(n)[:, None] * torch.tensor([2.0, 0.0]), torch.ones(n, 2))
    assert len(fcos_ops.nms(apart, torch.rand(n), 0.5)) == n


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


def test_the_result_owns_its_memory_only() -> None:
    keep = fcos_ops.nms(identical(1000), torch.rand(1000), 0.5)
    assert keep.untyped_storage().nbytes() == 8


def test_too_many_boxes() -> None:
    boxes, scores = torch.zeros(1, 4).expand(2**31, 4), torch.zeros(1).expand(2**31)
    with pytest.raises(ValueError, match="boxes must have fewer than"):
        fcos_ops.nms(boxes, scores, 0.5)


# ------------------------------------------------------------------------------------ nms_padded

OPTIONS: dict[str, Any] = {"iou_threshold": 0.5, "score_threshold": 0.05, "max_detections": 20}


def batch(sizes: list[int], offset_dtype: torch.dtype = torch.int64) -> tuple[Tensor, ...]:
    """(boxes, scores, classes, offsets) of images with the given numbers of boxes."""
    n = sum(sizes)
    offsets = torch.tensor([0, *sizes]).cumsum(0).to(offset_dtype)
    return clustered(n), tied(n), torch.randint(0, 4, (n,)), offsets


@pytest.mark.every_device
@pytest.mark.parametrize("sizes", [[], [0], [0, 0, 0], [1], [40, 0, 1, 300, 7], [90] * 12], ids=str)
def test_padded_equals_the_reference(sizes: list[int]) -> None:
    for dtype in (torch.int64, torch.int32):
        boxes, scores, classes, offsets = batch(sizes, dtype)
        for chosen in (classes, classes.int(), None):
            for options in (
                OPTIONS,
                {"iou_threshold": 0.0, "score_threshold": None, "max_detections": 1000},
                {"iou_threshold": 1.0, "score_threshold": -0.125, "max_detections": 3},
                {"iou_threshold": 0.6, "score_threshold": -INF, "max_detections": 1},
                {"iou_threshold": 0.6, "score_threshold": INF, "max_detections": 5},
                {"iou_threshold": 0.6, "score_threshold": 0.0, "max_detections": 0},
            ):
                arguments = (boxes, scores, chosen, offsets)
                actual = fcos_ops.nms_padded(*arguments, **options)
                expected = reference.nms_padded(*arguments, **options)
                for a, e in zip(actual, expected, strict=True):
                    assert a.dtype == torch.int64 and torch.equal(a, e)


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", DTYPES)
def test_padded_score_threshold_is_rounded_as_scores_are_computed(dtype: torch.dtype) -> None:
    scores = torch.tensor([0.05, 0.1, 0.0498, NAN, INF, -INF], dtype=dtype)
    boxes = corners(torch.arange(6)[:, None] * torch.tensor([2.0, 0.0]), torch.ones(6, 2))
    for threshold in (0.05, 0.1, -INF, None):
        options = OPTIONS | {"score_threshold": threshold}
        actual = fcos_ops.nms_padded(boxes, scores, None, torch.tensor([0, 6]), **options)
        expected = reference.nms_padded(boxes, scores, None, torch.tensor([0, 6]), **options)
        assert torch.equal(actual.keep, expected.keep)


# What kernels cut work into: warps, groups of 64, rounds of 4096, and one block an image.


@pytest.mark.every_device
@pytest.mark.parametrize("layout", [clustered, integral, uniform])
def test_sizes_around_warps_and_groups(layout: Callable[[int], Tensor]) -> None:
    for n in (1, 2, 3, 31, 32, 33, 63, 64, 65, 127, 128, 129, 511, 513, 1025):
        assert_nms(layout(n), tied(n), 0.4)
        assert_batched_nms(layout(n), tied(n).double(), torch.randint(0, 3, (n,)), 0.4)


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reach", [1, 3])
@pytest.mark.parametrize("n", [70, 4097, 8200])
def test_chains(n: int, reach: int, dtype: torch.dtype) -> None:
    """Each box overlaps those up to `reach` behind it, so whether it stays hangs on all before."""
    left = torch.arange(n, dtype=dtype) * (3.0 if reach == 1 else 1.0)
    boxes = torch.stack([left, left * 0, left + 10, left * 0 + 10], 1)
    order = torch.randperm(n)
    scores = torch.empty(n)
    scores[order] = torch.arange(n, 0, -1).float()
    shuffled = torch.empty_like(boxes)
    shuffled[order] = boxes
    expected = order[:: reach + 1]
    assert torch.equal(fcos_ops.nms(shuffled, scores.to(dtype), 0.5), expected)


@pytest.mark.every_device
def test_all_suppressed_and_none() -> None:
    n = 4200
    assert fcos_ops.nms(identical(n), torch.zeros(n), 0.5).tolist() == [0]
    apart = corners(torch.arange(n)[:, None] * torch.tensor([2.0, 0.0]), torch.ones(n, 2))
    assert torch.equal(fcos_ops.nms(apart, torch.zeros(n), 0.0), torch.arange(n))
    assert torch.equal(fcos_ops.nms(identical(n), torch.zeros(n), 1.0), torch.arange(n))


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "sizes",
    [
        [4500],
        [3000, 0, 2000],
        [100, 4200],
        [4096, 64],
        [0, 300, 0, 0, 700, 64, 65, 1, 0, 5, 63, 128],
    ],
    ids=str,
)
def test_padded_images_across_rounds(sizes: list[int], dtype: torch.dtype) -> None:
    boxes, scores, classes, offsets = batch(sizes)
    boxes[::50, 1], scores[3::40] = NAN, NAN
    for limit in (1, 64, 100, 1024, 1025, 5000):
        chosen = None if limit == 100 else classes
        options = OPTIONS | {"max_detections": limit, "score_threshold": -1.5}
        arguments = (boxes, scores.to(dtype), chosen, offsets)
        actual = fcos_ops.nms_padded(*arguments, **options)
        expected = reference.nms_padded(*arguments, **options)
        assert torch.equal(actual.count, expected.count)
        assert torch.equal(actual.keep, expected.keep)


def test_threads_and_runs_agree() -> None:
    arguments = batch([2000] * 24)
    results = []
    for threads in (1, 2, 2, 2):
        torch.set_num_threads(threads)
        results.append(fcos_ops.nms_padded(*arguments, **OPTIONS | {"max_detections": 2000}))
    for keep, count in results[1:]:
        assert torch.equal(keep, results[0].keep) and torch.equal(count, results[0].count)


def test_baseline_instruction_set() -> None:
    """The code for processors without AVX2 keeps the same boxes."""
    test = f"{__file__}::test_equals_the_reference"
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--device", "cpu", test],
        cwd=REPOSITORY,
        env={**os.environ, "FCOS_OPS_ISA": "baseline"},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout
    assert f"{len(LAYOUTS)} passed" in finished.stdout


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


# ----------------------------------------------------------------------------- a citizen of torch


@pytest.mark.parametrize("native", [True, False], ids=["native", "reference"])
def test_opcheck(native: bool) -> None:
    boxes, scores, classes, offsets = batch([30, 0, 12])
    for ids in (None, classes):
        arguments: tuple[Any, ...] = (boxes, scores, ids, 0.5, native)
        torch.library.opcheck(torch.ops.fcos_ops.nms.default, arguments)
        arguments = (boxes, scores.double(), ids, offsets.int(), 0.5, None, 7, native)
        torch.library.opcheck(torch.ops.fcos_ops.nms_padded.default, arguments)


def test_inputs_that_require_gradients() -> None:
    boxes, scores = uniform(9).requires_grad_(), torch.rand(9, requires_grad=True)
    assert not fcos_ops.nms(boxes, scores, 0.5).requires_grad
    keep = torch.ops.fcos_ops.nms(boxes, scores, None, 0.5, True)
    scores[keep].sum().backward()
    assert scores.grad is not None and scores.grad.sum() == len(keep)


class Suppress(torch.nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor, classes: Tensor, offsets: Tensor) -> Any:
        boxes = boxes * 2
        keep = fcos_ops.nms_padded(boxes, scores, classes, offsets, **OPTIONS)
        alone = fcos_ops.nms(boxes, scores, 0.5)
        by_class = fcos_ops.batched_nms(boxes, scores, classes, 0.5)
        return *keep, scores[alone], boxes[by_class] + 1


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
def test_compile_and_export(backend: str) -> None:
    eager = Suppress()
    batches = [batch([30, 5]), batch([11, 0, 50])]
    with fcos_ops.backend(backend):
        compiled = torch.compile(eager, fullgraph=True, dynamic=True)
        dim = torch.export.Dim
        rows = {0: dim("rows", min=2)}
        shapes = (rows, rows, rows, {0: dim("bounds", min=3)})
        program = torch.export.export(eager, batches[0], dynamic_shapes=shapes).module()
        for arguments in batches:
            expected = eager(*arguments)
            for actual in (compiled(*arguments), program(*arguments)):
                for a, e in zip(actual, expected, strict=True):
                    assert torch.equal(a, e)


B, S, L, OFFSETS = torch.zeros(4, 4), torch.zeros(4), torch.zeros(4).long(), torch.tensor([0, 4])
BAD_BOXES = [
    (([[0.0] * 4] * 4, S), TypeError, "boxes must be a torch.Tensor"),
    ((B.long(), S), TypeError, "boxes must have dtype"),
    ((B.to_sparse(), S), TypeError, "boxes must be a dense tensor"),
    ((B[:, :3], S), ValueError, r"boxes must have shape \[N, 4\]"),
    ((B[None], S), ValueError, r"boxes must have shape \[N, 4\]"),
    ((B[0], S), ValueError, r"boxes must have shape \[N, 4\]"),
    ((B, None), TypeError, "scores must be a torch.Tensor"),
    ((B, L), TypeError, "scores must have dtype"),
    ((B, S[:3]), ValueError, "scores must have shape"),
    ((B, S[:, None]), ValueError, "scores must have shape"),
    ((B, S.to("meta")), ValueError, "scores must be on the device of boxes"),
]
BAD_THRESHOLD = [
    (-0.1, ValueError),
    (1.1, ValueError),
    (NAN, ValueError),
    ("0.5", TypeError),
    (None, TypeError),
]
BAD_IDS = [
    ([0] * 4, TypeError, "must be a torch.Tensor"),
    (S, TypeError, "must have dtype"),
    (L[:3], ValueError, "must have shape"),
    (L.to("meta"), ValueError, "must be on the device of boxes"),
]
BAD_PADDED = [
    ({"offsets": [0, 4]}, TypeError, "offsets must be a torch.Tensor"),
    ({"offsets": OFFSETS.float()}, TypeError, "offsets must have dtype"),
    ({"offsets": OFFSETS[:0]}, ValueError, "offsets must have shape"),
    ({"offsets": OFFSETS[None]}, ValueError, "offsets must have shape"),
    ({"offsets": OFFSETS.to("meta")}, ValueError, "offsets must be on the device of boxes"),
    ({"offsets": torch.tensor([0, 3])}, ValueError, "offsets must rise from 0 to 4"),
    ({"offsets": torch.tensor([1, 4])}, ValueError, "offsets must rise from 0 to 4"),
    ({"offsets": torch.tensor([0, 5])}, ValueError, "offsets must rise from 0 to 4"),
    ({"offsets": torch.tensor([0, 3, 2, 4])}, ValueError, "offsets must rise from 0 to 4"),
    ({"score_threshold": NAN}, ValueError, "score_threshold"),
    ({"score_threshold": "0"}, TypeError, "score_threshold"),
    ({"max_detections": -1}, ValueError, "max_detections"),
    ({"max_detections": 1.0}, TypeError, "max_detections"),
    ({"max_detections": True}, TypeError, "max_detections"),
]


def padded(
    boxes: Any = B, scores: Any = S, classes: Any = L, offsets: Any = OFFSETS, **options: Any
) -> Any:
    return fcos_ops.nms_padded(boxes, scores, classes, offsets, **{**OPTIONS, **options})


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
def test_bad_input(backend: str) -> None:
    functions: list[Callable[..., Any]] = [
        lambda b=B, s=S, iou_threshold=0.5: fcos_ops.nms(b, s, iou_threshold),
        lambda b=B, s=S, iou_threshold=0.5: fcos_ops.batched_nms(b, s, L, iou_threshold),
        padded,
    ]
    with fcos_ops.backend(backend):
        for function in functions:
            for arguments, error, message in BAD_BOXES:
                with pytest.raises(error, match=message):
                    function(*arguments)
            for threshold, error in BAD_THRESHOLD:
                with pytest.raises(error, match="iou_threshold must be"):
                    function(iou_threshold=threshold)
        for ids, error, message in BAD_IDS:
            with pytest.raises(error, match="idxs " + message):
                fcos_ops.batched_nms(B, S, ids, 0.5)  # type: ignore[arg-type]
            with pytest.raises(error, match="classes " + message):
                padded(classes=ids)
        for options, error, message in BAD_PADDED:
            with pytest.raises(error, match=message):
                padded(**options)
