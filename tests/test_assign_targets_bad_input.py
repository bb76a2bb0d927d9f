"""What assign_targets refuses, and how it says so."""

from typing import Any

import pytest
import torch

import fcos_ops
from fcos_ops import pyramid_levels
from tests.assignment_problem import IMPROVED, INF, NAN

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
    (IMPROVED._replace(range_inclusive=1), TypeError, "rule.range_inclusive must be a bool"),
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
