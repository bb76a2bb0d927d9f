"""Problems for the tests of assign_targets, and the comparison with the reference."""

import itertools
import math
from typing import Any

import numpy
import torch
from torch import Tensor

import fcos_ops
from fcos_ops import ASSIGNMENT_RULES, AssignmentRule, Level, Targets, pyramid_levels, reference
from tests.common import assert_near

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


def levels_of(rule: str | AssignmentRule) -> tuple[Level, ...]:
    return pyramid_levels(SIZES, image_size=IMAGE, rule=rule)


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
