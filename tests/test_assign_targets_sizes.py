"""assign_targets on pyramids, boxes and images of all sizes and numbers: what kernels cut up."""

import pytest
import torch

import fcos_ops
from fcos_ops import Level
from tests.common import DTYPES
from tests.inputs.assign_targets import INF, SIZES, check, levels_of, make_problem

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
def test_hundreds_of_images() -> None:
    counts = torch.randint(0, 4, (400,)).tolist()
    check([Level(3, 5, 16, 16, 16.0, -1, INF)], make_problem(counts, (48, 80)), "paper")


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
@pytest.mark.parametrize("counts", [[], [0], [0, 0], [0, 3, 0]], ids=str)
def test_empty(counts: list[int]) -> None:
    problem = make_problem(counts)
    targets = check(levels_of("improved"), problem, "improved")
    locations = sum(h * w for h, w in SIZES)
    assert targets.ltrb.shape == (len(counts), locations, 4)
