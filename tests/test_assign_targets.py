"""assign_targets against the reference, bit for bit: every rule, boxes of all kinds, odd values."""

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fcos_ops
from fcos_ops import ASSIGNMENT_RULES, Level, pyramid_levels
from fcos_ops._flat_levels import flatten_levels
from fcos_ops.assign_targets import MATCH_OP
from tests.common import DTYPES, assert_near
from tests.inputs.assign_targets import IMPROVED, INF, NAN, Problem, check, levels_of, make_problem


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rule", ASSIGNMENT_RULES)
def test_every_preset_and_dtype(rule: str, dtype: torch.dtype) -> None:
    for rounded in (True, False):
        boxes, labels, offsets = make_problem([30, 0, 60], rounded=rounded)
        targets = check(levels_of(rule), (boxes.to(dtype), labels, offsets), rule)
        assert targets.num_pos > 100 and len(targets.matched.unique()) > 20


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
    sizes_and_strides, scales_and_ranges = flatten_levels(levels)
    matched, counts, image_counts, arrivals = MATCH_OP(
        *problem, sizes_and_strides, scales_and_ranges, *ASSIGNMENT_RULES[rule][:7]
    )
    assert torch.equal(arrivals, torch.zeros(1, dtype=torch.int32))
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


@pytest.mark.every_device
def test_labels_are_passed_on_as_they_are() -> None:
    boxes, _, offsets = make_problem([40])
    labels = torch.randint(-3, 3, (40,)) * 2**40
    targets = check(levels_of("paper"), (boxes, labels, offsets), "paper")
    assert targets.labels.max() == 2**41 and targets.labels.min() == -3 * 2**40


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
