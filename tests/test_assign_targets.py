"""assign_targets against the reference, bit for bit, and as a citizen of torch."""

import itertools
import math
import os
import subprocess
import sys
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import fcos_ops
from fcos_ops import ASSIGNMENT_RULES, AssignmentRule, Level, Targets, pyramid_levels, reference
from fcos_ops.assign_targets import MATCH_OP, flatten_levels
from tests.common import DTYPES, assert_near

IMAGE = (152, 232)
SIZES = [(19, 29), (10, 15), (5, 8), (3, 4), (2, 2)]
IMPROVED = ASSIGNMENT_RULES["improved"]
INF, NAN = math.inf, math.nan

Problem = tuple[Tensor, Tensor, Tensor]  # boxes, labels, offsets


def make_problem(
    counts: list[int], image: tuple[int, int] = IMAGE, rounded: bool = True
) -> Problem:
    """Boxes of all sizes, some beyond the image; whole coordinates make exact ties and borders."""
    total = sum(counts)
    center = torch.rand(total, 2) * torch.tensor(image[::-1])
    size = torch.exp2(torch.rand(total, 2) * 8 + 1)
    boxes = torch.cat([center - size / 2, center + size / 2], 1)
    if rounded:
        boxes = boxes.round()
    boxes[1::7] = boxes[0::7][: len(boxes[1::7])]  # duplicates
    offsets = torch.tensor([0, *itertools.accumulate(counts)])
    return boxes, torch.randint(0, 80, (total,)), offsets


def assert_same(actual: Targets, expected: Targets) -> None:
    for name in ("labels", "matched", "ltrb", "num_pos"):
        one, other = getattr(actual, name), getattr(expected, name)
        assert one.dtype == other.dtype and one.is_contiguous() and other.is_contiguous(), name
        assert torch.equal(one, other), name
    assert_near(actual.centerness, expected.centerness, expected.centerness.dtype)
    # A sum in another order.
    assert_near(actual.centerness_sum, expected.centerness_sum, expected.ltrb.dtype)
    assert actual.centerness_sum.dtype == expected.centerness_sum.dtype


def check(levels: Any, problem: Problem, rule: str | AssignmentRule) -> Targets:
    actual = fcos_ops.assign_targets(levels, *problem, rule=rule)
    assert_same(actual, reference.assign_targets(levels, *problem, rule=rule))
    assert torch.equal(actual.centerness, centerness_to_the_bit(actual))
    return actual


def centerness_to_the_bit(targets: Targets) -> Tensor:
    """As csrc/math/centerness.h rounds it; the reference rounds in another order."""
    pairs = targets.ltrb.unflatten(-1, (2, 2))  # left, top and right, bottom
    ratios = pairs.amin(-2) / pairs.amax(-2)
    # torch's vectorised sqrt on a CPU is not always correctly rounded; NumPy's is.
    root = torch.from_numpy(numpy.sqrt((ratios[..., 0] * ratios[..., 1]).cpu().numpy()))
    inside = (targets.ltrb > 0).all(-1)  # a side may underflow when it is normalised
    return torch.where(inside, root.to(ratios.device), 0.0)


def levels_of(rule: str | AssignmentRule) -> tuple[Level, ...]:
    return pyramid_levels(SIZES, image_size=IMAGE, rule=rule)


def check_preset(rule: str, dtype: torch.dtype) -> None:
    for rounded in (True, False):
        boxes, labels, offsets = make_problem([30, 0, 60], rounded=rounded)
        targets = check(levels_of(rule), (boxes.to(dtype), labels, offsets), rule)
        assert targets.num_pos > 100 and len(targets.matched.unique()) > 20


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rule", ASSIGNMENT_RULES)
def test_every_preset_and_dtype(rule: str, dtype: torch.dtype) -> None:
    check_preset(rule, dtype)


def test_baseline_instruction_set() -> None:
    """The same in a process that runs what a processor without AVX2 would."""
    script = (
        "import torch; from tests.test_assign_targets import *; torch.manual_seed(0)\n"
        "for rule in ASSIGNMENT_RULES: check_preset(rule, torch.float32)\n"
        "print(fcos_ops.build_info()['cpu_instruction_set'])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "FCOS_OPS_ISA": "baseline"},
    )
    assert result.stdout.strip() == "baseline", result.stderr


SWITCHES = {
    "location_offset": (0.5, 0.0, 0.3),
    "center_radius": (-2.0, 0.01, 1.5, 2, INF),
    "center_region": ("clipped", "chebyshev"),
    "range_inclusive": (True, False),
    "area_rule": ("exact", "float32_complement"),
    "max_area": (700.0, INF),
    "normalize_ltrb": (True, False),
}


@pytest.mark.every_device
@pytest.mark.parametrize("radius", SWITCHES["center_radius"])
@pytest.mark.parametrize("offset", SWITCHES["location_offset"])
def test_every_combination_of_switches(offset: float, radius: float) -> None:
    levels = pyramid_levels(
        [(9, 11), (5, 6)], strides=(8, 16), rule=IMPROVED._replace(ranges=((-1, 32), (32, INF)))
    )
    switches = {**SWITCHES, "location_offset": (offset,), "center_radius": (radius,)}
    for values in itertools.product(*switches.values()):
        problem = make_problem([20], image=(72, 88))
        check(levels, problem, IMPROVED._replace(**dict(zip(switches, values, strict=True))))


# Level(height, width, stride_y, stride_x, scale, lower, upper)
PYRAMIDS = {
    "odd strides": [Level(21, 13, 7, 13, 9.5, -1, 50.5), Level(5, 9, 31, 19, 3.0, 20, 200)],
    "scale is no power of two": [Level(20, 20, 8, 8, 3.7, 0, INF)],
    "overlapping ranges": [Level(9, 9, 16, 16, 16.0, 0, 100), Level(9, 9, 16, 16, 16.0, 50, 150)],
    "one cell": [Level(1, 1, 100, 100, 100.0, 0, INF)],
    "empty levels": [
        Level(0, 7, 8, 8, 8.0, 0, INF),
        Level(6, 6, 8, 8, 8.0, 0, INF),
        Level(3, 0, 8, 8, 8.0, 0, INF),
    ],
    "only empty levels": [Level(0, 0, 8, 8, 8.0, 0, INF)],
    "nothing in range": [Level(20, 20, 8, 8, 8.0, 40, 30), Level(20, 20, 8, 8, 8.0, -9, -1)],
    "sixteen levels": [Level(i, 17 - i, 8 + i, 9, 8.0, i * 4, i * 30) for i in range(1, 17)],
    "many bands of rows": [Level(1400, 15, 1, 16, 12.0, 0, INF)],
    "wider than a band": [Level(2, 10300, 60, 1, 40.0, 0, INF)],
}


@pytest.mark.every_device
@pytest.mark.parametrize("rule", ["improved", "paper", "torchvision"])
@pytest.mark.parametrize("levels", PYRAMIDS.values(), ids=PYRAMIDS)
def test_pyramids(levels: list[Level], rule: str) -> None:
    check(levels, make_problem([5, 23]), rule)


# Levels just below, at and just above the sizes at which kernels cut tiles, and the flat and narrow
# ones for which tiles have another shape.
TILE_EDGES = [(31, 32), (32, 33), (33, 31), (64, 65), (3, 300), (1, 1030), (5, 128), (1030, 1)]
TILE_EDGES += [(257, 4), (300, 3), (66, 17), (8, 129), (4, 257), (9, 257)]


@pytest.mark.every_device
@pytest.mark.parametrize("rule, dtype", [("paper", torch.float32), ("improved", torch.float64)])
def test_levels_around_the_size_of_a_tile(rule: str, dtype: torch.dtype) -> None:
    for height, width in TILE_EDGES:
        level = Level(height, width, 5, 3, 6.0, -1, INF)
        bottom, right = height * 5, width * 3
        boxes, labels, offsets = make_problem([20, 0, 13], (bottom, right))
        corners = torch.cartesian_prod(
            torch.tensor([-5, right - 5]), torch.tensor([-5, bottom - 5])
        )
        boxes[:4] = torch.cat([corners, corners + 9], 1)  # the outermost cells are matched
        check([level], (boxes.to(dtype), labels, offsets), rule)
    check([Level(h, w, 9, 9, 9.0, 0, INF) for h, w in TILE_EDGES], make_problem([9]), rule)


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("counts", [[255, 256, 257], [31, 700, 1, 64], [2100]], ids=str)
def test_more_boxes_than_are_looked_at_together(counts: list[int], dtype: torch.dtype) -> None:
    """Boxes of all sizes: later ones win over earlier ones, and equal ones do not."""
    boxes, labels, offsets = make_problem(counts)
    for rule in ("paper", "improved"):
        targets = check(levels_of(rule), (boxes.to(dtype), labels, offsets), rule)
        assert len(targets.matched.unique()) > 40


@pytest.mark.every_device
@pytest.mark.parametrize("rule", ["paper", "torchvision"])
def test_every_box_may_match_and_areas_are_equal(rule: str) -> None:
    """Long lists of candidates, ties everywhere, within and across the runs of boxes."""
    count = 600
    boxes = torch.tensor([0.0, 0.0, 64.0, 60.0]).repeat(count, 1)
    boxes += torch.randint(-3, 4, (count, 1)) * 8  # moved: the area stays
    boxes[count // 2 :] += torch.tensor([2.0, 2.0, -2.0, -2.0])  # smaller, so those win
    level = Level(16, 16, 4, 4, 12.0, -1, INF)
    problem = boxes, torch.arange(count), torch.tensor([0, count, count])
    targets = check([level], problem, rule)
    winners = targets.matched[targets.matched >= 0].unique()
    assert (winners >= count // 2).sum() >= 2


@pytest.mark.every_device
def test_each_candidate_beats_those_before_it() -> None:
    """Shrinking boxes around one point: the last that holds a location wins it."""
    half = torch.linspace(400, 2, 520)[:, None]
    boxes = torch.cat([130 - half, 130 - half, 130 + half, 130 + half], 1)
    problem = boxes, torch.arange(520), torch.tensor([0, 520])
    levels = [Level(70, 70, 4, 4, 4.0, -1, INF), Level(70, 40, 4, 7, 4.0, -1, INF)]
    for order in (slice(None), torch.randperm(520)):
        targets = check(levels, (boxes[order], *problem[1:]), "paper")
        assert len(targets.matched.unique()) > 50


@pytest.mark.every_device
@pytest.mark.parametrize("rule", ASSIGNMENT_RULES)
def test_boxes_on_cells(rule: str) -> None:
    """Sides and centres exactly on locations and between them."""
    corners = torch.cartesian_prod(*[torch.arange(0.0, 33, 4)] * 2)
    sizes = torch.tensor([4.0, 8, 12, 16, 24, 64])
    boxes = torch.cat([torch.cat([corners, corners + size], 1) for size in sizes])
    offsets = torch.tensor([0, 100, len(boxes)])
    for integer in (torch.int32, torch.int64):
        problem = boxes, torch.arange(len(boxes)).to(integer), offsets.to(integer)
        level = Level(9, 9, 8, 8, 8.0, -1, 64)
        targets = check([level, level._replace(lower=8, upper=16)], problem, rule)
        assert targets.num_pos > 50


def check_matches(levels: Any, problem: Problem, rule: str) -> None:
    """What fcos_loss takes of an assignment: indices and counts, without the targets."""
    grids, lengths = flatten_levels(levels)
    matched, counts, image_counts = MATCH_OP(*problem, grids, lengths, *ASSIGNMENT_RULES[rule][:7])
    targets = fcos_ops.assign_targets(levels, *problem, rule=rule)
    assert matched.dtype == torch.int32 and torch.equal(matched.long(), targets.matched)
    real = targets.centerness.dtype
    assert counts.dtype == image_counts.dtype == real
    assert torch.equal(counts, torch.stack([targets.num_pos.to(real), targets.centerness_sum]))
    expected = torch.stack([(matched >= 0).sum(1), targets.centerness.double().sum(1)], 1)
    assert image_counts.shape == expected.shape
    assert_near(image_counts, expected, real)
    assert torch.equal(image_counts[:, 0], expected[:, 0].to(real))
    if real == torch.float32:  # whose sums are exact in float64, so any order gives the same
        assert torch.equal(image_counts, expected.to(real))


@pytest.mark.every_device
@pytest.mark.parametrize("counts", [[30, 0, 60], [3], [2, 1] * 5, []], ids=str)
def test_matches_for_losses(counts: list[int]) -> None:
    for rule in ("improved", "torchvision"):
        boxes, labels, offsets = make_problem(counts, rounded=False)
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            check_matches(levels_of(rule), (boxes.to(dtype), labels, offsets), rule)
    check_matches([Level(70, 700, 8, 8, 8.0, 0, INF)], make_problem(counts), "improved")
    check_matches([Level(0, 7, 8, 8, 8.0, 0, INF)], make_problem(counts), "improved")


@pytest.mark.every_device
def test_hundreds_of_images() -> None:
    counts = torch.randint(0, 4, (400,)).tolist()
    check([Level(3, 5, 16, 16, 16.0, -1, INF)], make_problem(counts, (48, 80)), "paper")


@pytest.mark.every_device
def test_boxes_at_any_address() -> None:
    """Storage that is aligned to an element only."""
    boxes, labels, offsets = make_problem([300])
    for dtype in DTYPES:
        shifted = torch.empty(1201, dtype=dtype)[1:].view(300, 4).copy_(boxes)
        assert shifted.is_contiguous() and shifted.data_ptr() % 16 != 0
        check(levels_of("improved"), (shifted, labels, offsets), "improved")


@pytest.mark.every_device
def test_extreme_boxes() -> None:
    values = [NAN, -INF, INF, -3e38, 3e38, 1e9, -1e-40, 0.0, 60.0, 100.0]
    boxes = torch.tensor(list(itertools.product(values, (0.0, -3e38), values, (90.0, INF))))
    boxes = torch.cat([boxes, boxes[:, [1, 0, 3, 2]]])
    offsets = torch.tensor([*range(0, len(boxes), 5), len(boxes)])
    levels = [Level(6, 7, 16, 16, 16.0, -1, INF), Level(2, 2, 64, 64, 1e6, 0, 1e8)]
    for rule in ("paper", "improved", "torchvision"):
        for options in ({}, {"max_area": INF}, {"center_radius": 1e38}):
            for dtype in (torch.float32, torch.float64):
                problem = boxes.to(dtype), torch.arange(len(boxes)), offsets
                targets = check(levels, problem, ASSIGNMENT_RULES[rule]._replace(**options))
                assert targets.num_pos > 0


def test_box_of_exactly_the_largest_area_matches_nowhere() -> None:
    rule = IMPROVED._replace(max_area=64.0 * 64.0)
    levels = [Level(8, 8, 8, 8, 8.0, -1, INF)]
    boxes = torch.tensor([[0.0, 0, 64, 64], [0, 0, 64, 63]])
    for box, matches in zip(boxes, (False, True), strict=True):
        problem = box[None], torch.zeros(1, dtype=torch.int64), torch.tensor([0, 1])
        assert (check(levels, problem, rule).num_pos > 0) == matches


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("rule", ASSIGNMENT_RULES)
def test_boxes_within_a_rounding_of_every_border(rule: str, dtype: torch.dtype) -> None:
    """Sides, centre squares and ranges that end at a location or one rounding beside it; near the
    origin, and far from it, where roundings are large."""
    level = Level(4, 4, 16, 16, 16.0, 24, 64)
    for offset in (0.0, 0.5, 3000.5, 1e6):
        x = (torch.arange(3, dtype=dtype) + offset) * 16
        corners = (x[:, None] + torch.tensor([-64, -24, 0, 24, 64], dtype=dtype)).unique()
        corners = torch.cat([corners.nextafter(corners + sign) for sign in (-1, 0, 1)]).unique()
        x1, x2 = torch.meshgrid(corners, corners, indexing="ij")
        x1, x2 = x1[x1 < x2], x2[x1 < x2]
        low = x[1] - 12
        boxes = torch.cat(
            [torch.stack([x1, low + x1 * 0, x2, low + h + x2 * 0], 1) for h in (24, 70)]
        )
        boxes = torch.cat([boxes, boxes[:, [1, 0, 3, 2]]])
        offsets = torch.tensor([*range(0, len(boxes), 25), len(boxes)])
        switches = ASSIGNMENT_RULES[rule]._replace(location_offset=offset)
        targets = check([level], (boxes, torch.arange(len(boxes)), offsets), switches)
        assert targets.num_pos > len(offsets)


def test_cells_whose_numbers_float32_cannot_hold() -> None:
    width = 2**24 + 64  # the last locations round to even cells
    levels = [Level(1, width, 8, 3, 8.0, 0, INF)]
    x = 3.0 * 2**24
    boxes = torch.tensor(
        [[x - 20, -9, x + 30, 17], [x + 6, -9, x + 90, 16], [x + 150, -9, x + 400, 17]]
    )
    targets = fcos_ops.assign_targets(
        levels, boxes, torch.arange(3), torch.tensor([0, 3]), rule="paper"
    )
    at = (torch.arange(width - 200, width).to(torch.float32) + 0.5) * 3
    inside = (at > boxes[:, :1]) & (at < boxes[:, 2:3])
    expected = torch.where(inside.any(0), inside.int().argmax(0), -1)
    expected[inside[:2].all(0)] = 0
    assert torch.equal(targets.matched[0, -200:], expected)


@pytest.mark.every_device
def test_inputs_of_any_stride_and_integer_type() -> None:
    boxes, labels, offsets = make_problem([30, 20])
    expected = reference.assign_targets(levels_of("improved"), boxes, labels, offsets)
    wide = torch.full((50, 9), NAN)
    wide[:, 1:9:2] = boxes
    for strided in (wide[:, 1:9:2], boxes.t().contiguous().t(), boxes.flip(0).flip(0)):
        for integer in (torch.int32, torch.int64):
            twice = torch.stack([labels, -labels], 1).to(integer)[:, 0]
            targets = fcos_ops.assign_targets(
                levels_of("improved"), strided, twice, offsets.repeat_interleave(2).to(integer)[::2]
            )
            assert_same(targets, expected)
    one = boxes[:1].expand(50, 4)
    check(levels_of("improved"), (one, labels, offsets), "improved")


@pytest.mark.every_device
def test_labels_are_passed_on_as_they_are() -> None:
    boxes, _, offsets = make_problem([40])
    labels = torch.randint(-3, 3, (40,)) * 2**40
    targets = check(levels_of("paper"), (boxes, labels, offsets), "paper")
    assert targets.labels.max() == 2**41 and targets.labels.min() == -3 * 2**40


@pytest.mark.every_device
@pytest.mark.parametrize("counts", [[], [0], [0, 0], [0, 3, 0]], ids=str)
def test_empty(counts: list[int]) -> None:
    problem = make_problem(counts)
    targets = check(levels_of("improved"), problem, "improved")
    locations = sum(h * w for h, w in SIZES)
    assert targets.ltrb.shape == (len(counts), locations, 4)


@pytest.mark.parametrize("rule", ASSIGNMENT_RULES)
def test_result_does_not_depend_on_threads_or_runs(rule: str) -> None:
    levels = pyramid_levels([(120, 200), (60, 100), (30, 50), (15, 25), (8, 13)])
    problem = make_problem([60, 5, 200], image=(960, 1600), rounded=False)
    results = []
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        results.append(fcos_ops.assign_targets(levels, *problem, rule=rule))
    for result in results[1:]:
        assert all(map(torch.equal, result, results[0]))
    double = results[0].centerness.double().sum()
    torch.testing.assert_close(results[0].centerness_sum.double(), double, rtol=1e-7, atol=0)


COORDINATE = st.one_of(st.integers(-20, 140).map(float), st.floats(width=32))
BOX = st.tuples(COORDINATE, COORDINATE, COORDINATE, COORDINATE)


@given(
    images=st.lists(st.lists(BOX, max_size=12), max_size=3),
    size=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    stride=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    lengths=st.tuples(st.floats(0.5, 60), st.floats(-1, 60), st.floats(20, width=32)),
    rule=st.builds(
        lambda values: IMPROVED._replace(**dict(zip(SWITCHES, values, strict=True))),
        st.tuples(*map(st.sampled_from, SWITCHES.values())),
    ),
)
@settings(deadline=None, max_examples=60)
def test_any_boxes(images: Any, size: Any, stride: Any, lengths: Any, rule: Any) -> None:
    boxes = torch.tensor([box for image in images for box in image]).reshape(-1, 4)
    offsets = torch.tensor([0, *itertools.accumulate(map(len, images))])
    check([Level(*size, *stride, *lengths)], (boxes, torch.arange(len(boxes)), offsets), rule)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("rule", ["improved", "torchvision"])
def test_opcheck(rule: str, native: bool) -> None:
    grids, lengths = [6, 9, 8, 8, 3, 5, 16, 16], [8.0, -1.0, 64.0, 16.0, 64.0, INF]
    boxes, labels, offsets = make_problem([9, 0, 11])
    arguments = (boxes, labels, offsets, grids, lengths, *ASSIGNMENT_RULES[rule][:7], native)
    torch.library.opcheck(torch.ops.fcos_ops.assign_targets.default, arguments)


class Assign(torch.nn.Module):
    """As a training step does it: the pyramid follows from the shapes of the features."""

    def __init__(self, rule: str) -> None:
        super().__init__()
        self.rule = rule

    def forward(self, image: Tensor, features: list[Tensor], *problem: Tensor) -> Targets:
        levels = pyramid_levels(
            [feature.shape[-2:] for feature in features],
            strides=(8, 16),
            image_size=image.shape[-2:],
            rule=ASSIGNMENT_RULES[self.rule]._replace(ranges=((0, 64), (64, INF))),
        )
        boxes, labels, offsets = problem
        targets = fcos_ops.assign_targets(levels, boxes * 1, labels, offsets, rule=self.rule)
        return targets._replace(num_pos=targets.num_pos + 1)


def assign_inputs(height: int, width: int, count: int) -> tuple[Tensor, list[Tensor], Any]:
    features = [torch.zeros(2, 3, math.ceil(height / s), math.ceil(width / s)) for s in (8, 16)]
    return torch.zeros(2, 3, height, width), features, make_problem([count, 3], (height, width))


@pytest.mark.parametrize(
    "backend, rule, compiler",
    [
        ("native", "improved", "inductor"),
        ("native", "torchvision", "aot_eager"),
        ("reference", "torchvision", "aot_eager"),
    ],
)
def test_compile_with_dynamic_shapes(backend: str, rule: str, compiler: str) -> None:
    eager = Assign(rule)
    with fcos_ops.backend(backend):
        compiled = torch.compile(eager, fullgraph=True, dynamic=True, backend=compiler)
        for height, width, count in ((96, 128, 9), (104, 200, 5), (152, 152, 17)):
            image, features, problem = assign_inputs(height, width, count)
            assert_same(compiled(image, features, *problem), eager(image, features, *problem))


@pytest.mark.parametrize("rule", ["improved", "torchvision"])
@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
def test_export_with_dynamic_shapes(backend: str, rule: str) -> None:
    dynamic, eager = torch.export.Dim.DYNAMIC, Assign(rule)
    spatial, rows = {2: dynamic, 3: dynamic}, {0: dynamic}
    image, features, problem = assign_inputs(96, 128, 9)
    with fcos_ops.backend(backend):
        program = torch.export.export(
            eager,
            (image, features, *problem),
            dynamic_shapes=(spatial, [spatial, spatial], (rows, rows, None)),
        )
        image, features, problem = assign_inputs(104, 200, 5)
        actual = Targets(*program.module()(image, features, *problem))
        assert_same(actual, eager(image, features, *problem))


def test_boxes_that_come_from_a_graph_are_fine_where_no_gradient_is_asked_for() -> None:
    boxes, labels, offsets = make_problem([5])
    with torch.no_grad():
        fcos_ops.assign_targets(levels_of("paper"), boxes.requires_grad_(), labels, offsets)


B, L, OFFSETS = torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64), torch.tensor([0, 1, 3])
LEVELS = pyramid_levels([(4, 4)], strides=[8], rule=IMPROVED._replace(ranges=((0, INF),)))
ONE = LEVELS[0]
BAD_INPUT = [
    ((LEVELS, [[0.0] * 4], L, OFFSETS), TypeError, "boxes must be a torch.Tensor"),
    ((LEVELS, B.long(), L, OFFSETS), TypeError, "boxes must have dtype"),
    ((LEVELS, B[:, :3], L, OFFSETS), ValueError, "boxes must have shape"),
    ((LEVELS, B[0], L, OFFSETS), ValueError, "boxes must have shape"),
    ((LEVELS, B.clone().requires_grad_(), L, OFFSETS), ValueError, "boxes is not differentiable"),
    ((LEVELS, B, L.float(), OFFSETS), TypeError, "labels must have dtype"),
    ((LEVELS, B, L[:2], OFFSETS), ValueError, "labels must have shape"),
    ((LEVELS, B, L[:, None], OFFSETS), ValueError, "labels must have shape"),
    ((LEVELS, B, L.to("meta"), OFFSETS), ValueError, "labels must be on the device"),
    ((LEVELS, B, L, [0, 3]), TypeError, "offsets must be a torch.Tensor"),
    ((LEVELS, B, L, OFFSETS.float()), TypeError, "offsets must have dtype"),
    ((LEVELS, B, L, OFFSETS[:0]), ValueError, "offsets must have shape"),
    ((LEVELS, B, L, OFFSETS[None]), ValueError, "offsets must have shape"),
    ((LEVELS, B, L, torch.tensor([0, 2])), ValueError, "offsets must rise from 0 to 3"),
    ((LEVELS, B, L, torch.tensor([1, 3])), ValueError, "offsets must rise from 0 to 3"),
    ((LEVELS, B, L, torch.tensor([0, 2, 1, 3])), ValueError, "offsets must rise from 0 to 3"),
    ((LEVELS, B, L, torch.tensor([0, 5, 3])), ValueError, "offsets must rise from 0 to 3"),
    (([], B, L, OFFSETS), ValueError, "levels must hold 1 to 16"),
    ((LEVELS * 17, B, L, OFFSETS), ValueError, "levels must hold 1 to 16"),
    (([(4, 4)], B, L, OFFSETS), TypeError, r"levels\[0\] must be a Level"),
    (([ONE, ONE._replace(height=-1)], B, L, OFFSETS), ValueError, "levels must have sizes"),
    (([ONE._replace(width=-1)], B, L, OFFSETS), ValueError, "levels must have sizes"),
    (([ONE._replace(height=0, width=2**31)], B, L, OFFSETS), ValueError, "levels must have sizes"),
    (([ONE._replace(stride_x=0)], B, L, OFFSETS), ValueError, "levels must have sizes"),
    (([ONE._replace(stride_y=-8)], B, L, OFFSETS), ValueError, "levels must have sizes"),
    (([ONE._replace(width=4.5)], B, L, OFFSETS), TypeError, "levels must have integers"),
    (([ONE._replace(upper="64")], B, L, OFFSETS), TypeError, "levels must have integers"),
    (([ONE._replace(scale=0.0)], B, L, OFFSETS), ValueError, "levels must have a finite scale"),
    (([ONE._replace(scale=INF)], B, L, OFFSETS), ValueError, "levels must have a finite scale"),
    (([ONE._replace(lower=NAN)], B, L, OFFSETS), ValueError, "levels must have a finite scale"),
]


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
@pytest.mark.parametrize("arguments, error, message", BAD_INPUT)
def test_bad_input(arguments: Any, error: type[Exception], message: str, backend: str) -> None:
    with fcos_ops.backend(backend), pytest.raises(error, match=message):
        fcos_ops.assign_targets(*arguments)


BAD_RULES = [
    ("fcos", ValueError, "rule: unknown preset"),
    (None, TypeError, "rule: expected a preset name"),
    (IMPROVED._replace(center_region="square"), ValueError, "rule.center_region"),
    (IMPROVED._replace(area_rule="float16"), ValueError, "rule.area_rule"),
    (IMPROVED._replace(center_radius=NAN), ValueError, "rule.center_radius"),
    (IMPROVED._replace(max_area="1e8"), ValueError, "rule.max_area"),
    (IMPROVED._replace(location_offset=None), ValueError, "rule.location_offset"),
]


@pytest.mark.parametrize("rule, error, message", BAD_RULES)
def test_bad_rule(rule: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fcos_ops.assign_targets(LEVELS, B, L, OFFSETS, rule=rule)


def test_offsets_are_checked_in_a_compiled_graph_too() -> None:
    compiled = torch.compile(lambda offsets: fcos_ops.assign_targets(LEVELS, B, L, offsets))
    with pytest.raises(ValueError, match="offsets must rise"):
        compiled(torch.tensor([0, 5, 3]))
