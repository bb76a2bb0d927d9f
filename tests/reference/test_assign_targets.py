import itertools
import math

import pytest
import torch

from fcos_ops.levels import Level, pyramid_levels
from fcos_ops.presets import ASSIGNMENT_RULES
from fcos_ops.reference import assign_targets, centerness_target

IMPROVED = ASSIGNMENT_RULES["improved"]
PAPER = ASSIGNMENT_RULES["paper"]
ANY_SIZE = (0.0, math.inf)


def grid(size, stride=8, lower=-1.0, upper=64.0):
    return (Level(size, size, stride, stride, float(stride), lower, upper),)


def assign(levels, boxes, rule, dtype=torch.float32, labels=None):
    """Targets of one image."""
    boxes = torch.tensor(boxes, dtype=dtype).reshape(-1, 4)
    labels = torch.arange(len(boxes)) if labels is None else torch.tensor(labels)
    return assign_targets(levels, boxes, labels, torch.tensor([0, len(boxes)]), rule=rule)


def matched(levels, boxes, rule, dtype=torch.float32):
    """{(y, x) of a cell: index of the box}, of a pyramid with one level."""
    found = assign(levels, boxes, rule, dtype).matched[0].reshape(levels[0][:2])
    return {tuple(cell): found[tuple(cell)].item() for cell in (found >= 0).nonzero().tolist()}


def test_hand_computed_targets():
    # Locations at 4, 12, 20, 28; the box covers 4 and 12 on both axes.
    # l, t, r, b at (4, 4) are 4, 4, 12, 12.
    targets = assign(grid(4), (0, 0, 16, 16), "paper", labels=[7])
    label = torch.full((4, 4), -1)
    label[:2, :2] = 7
    assert targets.labels.tolist() == [label.flatten().tolist()]
    assert targets.matched.tolist() == [[0 if v == 7 else -1 for v in label.flatten()]]
    ltrb = torch.zeros(4, 4, 4)
    ltrb[0, 0] = torch.tensor([4.0, 4, 12, 12])
    ltrb[0, 1] = torch.tensor([12.0, 4, 4, 12])
    ltrb[1, 0] = torch.tensor([4.0, 12, 12, 4])
    ltrb[1, 1] = torch.tensor([12.0, 12, 4, 4])
    assert torch.equal(targets.ltrb[0].reshape(4, 4, 4), ltrb)
    # sqrt(4 / 12 * 4 / 12) = 1 / 3 at each of the four
    expected = torch.zeros(4, 4)
    expected[:2, :2] = 1 / 3
    torch.testing.assert_close(targets.centerness[0].reshape(4, 4), expected)
    assert (targets.num_pos.shape, targets.num_pos.item()) == ((), 4)
    torch.testing.assert_close(targets.centerness_sum, torch.tensor(4 / 3))

    improved = assign(grid(4), (0, 0, 16, 16), "improved", labels=[7])
    assert torch.equal(improved.ltrb, targets.ltrb / 8)
    assert torch.equal(improved.matched, targets.matched)


def test_locations_and_order_are_level_major_then_row_major():
    levels = (Level(2, 3, 10, 20, 16.0, *ANY_SIZE), Level(1, 1, 40, 60, 32.0, *ANY_SIZE))
    for offset, corner, coarse in ((0.5, (10, 5), (30, 20)), (0.0, (0, 0), (0, 0))):
        rule = PAPER._replace(location_offset=offset)
        ltrb = assign(levels, (-100, -100, 300, 300), rule).ltrb[0]
        x, y = ltrb[:, 0] - 100, ltrb[:, 1] - 100
        assert x[:6].tolist() == [corner[0] + dx for dx in (0, 20, 40)] * 2
        assert y[:6].tolist() == [corner[1] + dy for dy in (0, 0, 0, 10, 10, 10)]
        assert (x[6], y[6]) == coarse
        normalized = assign(
            levels, (-100, -100, 300, 300), rule._replace(normalize_ltrb=True)
        ).ltrb[0]
        assert torch.equal(normalized, ltrb / torch.tensor([16.0] * 6 + [32])[:, None])


def test_location_on_the_edge_is_outside():
    assert matched(grid(4), (4, 4, 20, 20), "paper") == {(1, 1): 0}


def test_center_sampling_is_strict_and_clipped():
    # Centre 16, radius 1.5 * 8 = 12: strictly between 4 and 28, so 12 and 20 only.
    cells = set(itertools.product((1, 2), (1, 2)))
    assert set(matched(grid(4), (0, 0, 32, 32), "improved")) == cells
    # torchvision: locations 0, 8, 16, 24, and 24 - 16 < 12.
    cells = set(itertools.product((1, 2, 3), (1, 2, 3)))
    assert set(matched(grid(4), (0, 0, 32, 32), "torchvision")) == cells
    # The square (-2, 22) around the centre 10 is larger than the box (6, 14): only 12 is in both.
    assert set(matched(grid(4), (6, 6, 14, 14), "improved")) == {(1, 1)}
    assert set(matched(grid(4), (6, 6, 14, 14), "detectron2")) == {(1, 1)}


def test_size_of_interest_at_its_limits():
    # Location (68, 68) of P3 and (72, 72) of P4, each 64 from all four sides of a box.
    finer, coarser = grid(16, 8, -1, 64), grid(8, 16, 64, 128)
    fine_box, coarse_box = (4, 4, 132, 132), (8, 8, 136, 136)
    for rule in ("paper", "improved", "mmdet"):
        assert (8, 8) in matched(finer, fine_box, rule)
        assert (4, 4) in matched(coarser, coarse_box, rule)
    assert (8, 8) not in matched(finer, fine_box, "detectron2")
    assert (4, 4) not in matched(coarser, coarse_box, "detectron2")
    assert (4, 3) in matched(coarser, coarse_box, "detectron2")  # 80 from one side
    # torchvision has no offset: (64, 64) is a location of P3 and P4, and in the range of neither.
    assert (8, 8) not in matched(grid(16, 8, 0, 64), (0, 0, 128, 128), "torchvision")
    assert (4, 4) not in matched(grid(8, 16, 64, 128), (0, 0, 128, 128), "torchvision")
    assert (4, 5) in matched(grid(8, 16, 64, 128), (0, 0, 128, 128), "torchvision")


@pytest.mark.parametrize("name", ASSIGNMENT_RULES)
def test_smallest_area_wins_then_lowest_index(name):
    levels, cell = grid(4, 8, 0, 64), (2, 2)
    large, small = (0, 0, 40, 40), (4, 4, 36, 36)
    assert matched(levels, [large, small], name)[cell] == 1
    assert matched(levels, [small, large], name)[cell] == 0
    assert matched(levels, [large, small, small], name)[cell] == 1
    wide, narrow = (4, 12, 36, 28), (12, 4, 28, 36)  # 32 x 16 and 16 x 32
    assert matched(levels, [wide, narrow, small], name)[cell] == 0
    assert matched(levels, [narrow, wide, small], name)[cell] == 0


def test_areas_that_tie_in_the_float32_complement():
    # Near 1e8 float32 numbers are 8 apart: 1e8 - 10000 is one, 1e8 - 9997 rounds to it, and so does
    # 1e8 - 9996.01, just short of half way; 1e8 - 9995 rounds to the next.
    complement = IMPROVED._replace(area_rule="float32_complement")
    levels, first = grid(13, 8, 0, math.inf), (0, 0, 100, 100)
    for dtype in (torch.float32, torch.float64):
        for height, tie in ((99.97, True), (99.9601, True), (99.95, False), (99.5, False)):
            boxes = [first, (0, 0, 100, height)]
            assert matched(levels, boxes, complement, dtype)[6, 6] == (0 if tie else 1)
            assert matched(levels, boxes, "improved", dtype)[6, 6] == 1


def test_box_of_the_maximal_area_never_matches():
    levels = (Level(2, 2, 1024, 1024, 1024.0, 512.0, 1e8),)
    for name in ASSIGNMENT_RULES:
        rule = ASSIGNMENT_RULES[name]._replace(center_radius=0.0)
        assert matched(levels, (0, 0, 10000, 10000), rule) == {}
        assert (1, 1) in matched(levels, (0, 0, 10000, 9999), rule)
        assert (1, 1) in matched(levels, (0, 0, 2000, 2000), rule)


def test_boxes_that_never_match():
    nan, inf = math.nan, math.inf
    useless = [
        (nan, 0, 32, 32),
        (0, 0, 32, nan),
        (32, 32, 0, 0),
        (16, 0, 16, 32),
        (-inf, 0, inf, 32),
    ]
    for name in ASSIGNMENT_RULES:
        levels = grid(4, 8, 0, math.inf)
        alone = assign(levels, useless, name)
        assert alone.num_pos == 0
        assert (alone.labels == -1).all() and (alone.ltrb == 0).all()
        assert alone.centerness_sum == 0
        good = (0.0, 0.0, 32.0, 32.0)
        assert set(matched(levels, [*useless, good], name).values()) == {len(useless)}


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_images_own_their_slice(dtype):
    boxes = torch.tensor([[0.0, 0, 16, 16], [0, 0, 32, 32], [16, 16, 32, 32]])
    labels = torch.tensor([5, 6, 7], dtype=dtype)
    offsets = torch.tensor([0, 1, 1, 3], dtype=dtype)
    targets = assign_targets(grid(4), boxes, labels, offsets, rule="paper")
    assert targets.labels.dtype == targets.matched.dtype == targets.num_pos.dtype == torch.int64
    assert targets.labels[:, 0].tolist() == [5, -1, 6]
    assert targets.labels[:, -1].tolist() == [-1, -1, 7]
    assert targets.matched[:, -1].tolist() == [-1, -1, 2]
    assert targets.num_pos == 4 + 0 + 16


def test_empty():
    no_boxes, no_labels = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    targets = assign_targets(grid(4), no_boxes, no_labels, torch.tensor([0, 0, 0]))
    assert targets.labels.shape == (2, 16) and (targets.labels == -1).all()
    assert targets.ltrb.shape == (2, 16, 4) and (targets.ltrb == 0).all()
    assert targets.num_pos == targets.centerness_sum == 0
    no_images = assign_targets(grid(4), no_boxes, no_labels, torch.tensor([0]))
    assert no_images.ltrb.shape == (0, 16, 4)
    no_cells = assign_targets(
        grid(0), torch.ones(1, 4), torch.zeros(1).long(), torch.tensor([0, 1])
    )
    assert no_cells.ltrb.shape == (1, 0, 4)


def test_half_boxes_are_computed_in_float32():
    targets = assign(grid(4), (0, 0, 16, 16), "paper", torch.float16)
    assert targets.ltrb.dtype == targets.centerness_sum.dtype == torch.float32
    assert assign(grid(4), (0, 0, 16, 16), "paper", torch.float64).ltrb.dtype == torch.float64


def scalar_match(x, y, level, boxes, rule):
    """The rule for one location, written out: index of its box or -1."""
    best, best_area = -1, math.inf
    for index, (x1, y1, x2, y2) in enumerate(boxes):
        left, top, right, bottom = x - x1, y - y1, x2 - x, y2 - y
        if min(left, top, right, bottom) <= 0:
            continue
        reach = max(left, top, right, bottom)
        if not (level.lower < reach < level.upper) and not (
            rule.range_inclusive and reach in (level.lower, level.upper)
        ):
            continue
        radius = rule.center_radius * level.scale
        away = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2))
        if radius > 0 and away >= radius:
            continue
        area = (x2 - x1) * (y2 - y1)
        if rule.area_rule == "float32_complement":
            area = -torch.tensor(1e8 - area, dtype=torch.float32).item()
        if area < best_area:
            best, best_area = index, area
    return best


@pytest.mark.parametrize("name", ASSIGNMENT_RULES)
def test_against_one_location_at_a_time(name):
    rule, generator = ASSIGNMENT_RULES[name], torch.Generator().manual_seed(0)
    levels = pyramid_levels(
        [(13, 17), (7, 9), (4, 5), (2, 3), (1, 2)], image_size=(104, 136), rule=rule
    )
    center = torch.rand(30, 2, generator=generator) * torch.tensor([136.0, 104])
    size = torch.exp2(torch.rand(30, 2, generator=generator) * 8)
    boxes = torch.cat([center - size / 2, center + size / 2], 1).round().double()  # many exact ties
    offsets = [0, 12, 12, 30]
    targets = assign_targets(levels, boxes, torch.arange(30), torch.tensor(offsets), rule=rule)
    expected = []
    for start, stop in itertools.pairwise(offsets):
        expected.append([])
        for level in levels:
            for row, column in itertools.product(range(level.height), range(level.width)):
                x = (column + rule.location_offset) * level.stride_x
                y = (row + rule.location_offset) * level.stride_y
                found = scalar_match(x, y, level, boxes[start:stop].tolist(), rule)
                expected[-1].append(found + start if found >= 0 else -1)
    assert targets.matched.tolist() == expected
    assert targets.labels.tolist() == expected
    assert targets.num_pos == (targets.matched >= 0).sum() > 20
    assert torch.equal(targets.centerness, centerness_target(targets.ltrb))
