"""What assign_targets refuses, and how it says so."""

import re
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import torch

import fcos_ops
from fcos_ops import _checks, pyramid_levels
from fcos_ops._flat_levels import flatten_levels
from tests.inputs.assign_targets import IMPROVED, INF, NAN

B, L, OFFSETS = torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64), torch.tensor([0, 1, 3])
LEVELS = pyramid_levels([(4, 4)], strides=[8], rule=IMPROVED._replace(ranges=((0, INF),)))
ONE = LEVELS[0]
BAD_INPUT = [
    ((LEVELS, [[0.0] * 4], L, OFFSETS), TypeError, "boxes must be a torch.Tensor"),
    ((LEVELS, B.long(), L, OFFSETS), TypeError, "boxes must have dtype"),
    ((LEVELS, B[:, :3], L, OFFSETS), ValueError, "boxes must have shape"),
    ((LEVELS, B[0], L, OFFSETS), ValueError, "boxes must have shape"),
    (
        (LEVELS, B.clone().requires_grad_(), L, OFFSETS),
        ValueError,
        "boxes must not require a gradient",
    ),
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
]


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
@pytest.mark.parametrize("arguments, error, message", BAD_INPUT)
def test_bad_input(arguments: Any, error: type[Exception], message: str, backend: str) -> None:
    with fcos_ops.backend(backend), pytest.raises(error, match=message):
        fcos_ops.assign_targets(*arguments)


# Changes of the second level.
BAD_LEVELS = [
    ({"height": -1}, ValueError, "height must be in [0, 2147483646], got int -1"),
    ({"width": -1}, ValueError, "width must be in [0, 2147483646], got int -1"),
    ({"height": 0, "width": 2**31}, ValueError, "width must be in [0, 2147483646], got int 2147"),
    ({"stride_x": 0}, ValueError, "stride_x must be in [1, 4611686018427387904], got int 0"),
    ({"stride_y": -8}, ValueError, "stride_y must be in [1, 4611686018427387904], got int -8"),
    ({"stride_y": 2**63}, ValueError, "stride_y must be in [1, 4611686018427387904], got int 92"),
    ({"width": 4.5}, TypeError, "width must be an int, got float 4.5"),
    ({"width": True}, TypeError, "width must be an int, got bool True"),
    ({"height": torch.tensor(4)}, TypeError, "height must be an int, got torch.int64 tensor"),
    ({"upper": "64"}, TypeError, "upper must be a number, got str '64'"),
    ({"upper": Decimal(64)}, TypeError, "upper must be a number, got Decimal Decimal('64')"),
    ({"scale": 0.0}, ValueError, "scale must be finite and > 0, got 0.0"),
    ({"scale": INF}, ValueError, "scale must be finite and > 0, got inf"),
    ({"scale": 10**400}, ValueError, "scale must be a number that a double holds, got int bey"),
    ({"lower": NAN}, ValueError, "lower must be in [-inf, inf], got nan"),
]


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
@pytest.mark.parametrize("container", [list, tuple])
@pytest.mark.parametrize("changes, error, message", BAD_LEVELS)
def test_bad_level(
    changes: Any, error: type[Exception], message: str, container: Any, backend: str
) -> None:
    levels = container([ONE, ONE._replace(**changes)])
    with fcos_ops.backend(backend), pytest.raises(error, match=re.escape("levels[1]." + message)):
        fcos_ops.assign_targets(levels, B, L, OFFSETS)


def test_levels_of_a_traced_graph_are_checked_where_it_runs() -> None:
    sizes_and_strides, scales_and_ranges = [4, 4, 8, 8, 4, 4, 0, 8], [8.0, -1.0, 64.0] * 2
    rule = IMPROVED[:7]
    with pytest.raises(ValueError, match=re.escape("levels[1].stride_y must be in [1,")):
        torch.ops.fcos_ops.assign_targets(
            B, L, OFFSETS, sizes_and_strides, scales_and_ranges, *rule
        )


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
def test_more_locations_than_can_be_counted(backend: str) -> None:
    with fcos_ops.backend(backend):
        for levels in ([ONE._replace(height=2**31 - 2, width=2**31 - 2)] * 16, [ONE] * 15):
            levels = [*levels[:15], ONE._replace(height=2**20, width=2**20)]
            with pytest.raises(
                ValueError, match="levels must have at most 1099511627776 locations"
            ):
                fcos_ops.assign_targets(levels, B, L, OFFSETS)
    flatten_levels(levels[-1:])  # as many as can be


BAD_RULES = [
    ("fcos", ValueError, "rule must be the name of a preset, one of paper, improved, torchvision"),
    (None, TypeError, "rule must be a preset name or an AssignmentRule, got NoneType None"),
    (np.array([1.0, 2.0]), TypeError, "rule must be a preset name or an AssignmentRule, got nda"),
    ({"center_region": "square"}, ValueError, "rule.center_region must be one of ('clipped',"),
    ({"center_region": np.array(["clipped"] * 2)}, TypeError, "rule.center_region must be one of"),
    ({"area_rule": "float16"}, ValueError, "rule.area_rule must be one of ('exact', "),
    ({"center_radius": NAN}, ValueError, "rule.center_radius must be in [-inf, inf], got nan"),
    ({"center_radius": True}, TypeError, "rule.center_radius must be a number, got bool True"),
    ({"range_inclusive": 1}, TypeError, "rule.range_inclusive must be a bool, got int 1"),
    ({"max_area": "1e8"}, TypeError, "rule.max_area must be a number, got str '1e8'"),
    ({"max_area": 10**400}, ValueError, "rule.max_area must be a number that a double holds"),
    ({"location_offset": None}, TypeError, "rule.location_offset must be a number, got NoneType"),
]


@pytest.mark.parametrize("rule, error, message", BAD_RULES)
def test_bad_rule(rule: Any, error: type[Exception], message: str) -> None:
    if isinstance(rule, dict):
        rule = IMPROVED._replace(**rule)
    with pytest.raises(error, match=re.escape(message)):
        fcos_ops.assign_targets(LEVELS, B, L, OFFSETS, rule=rule)


def test_offsets_are_checked_in_a_compiled_graph_too() -> None:
    compiled = torch.compile(lambda offsets: fcos_ops.assign_targets(LEVELS, B, L, offsets))
    with pytest.raises(ValueError, match="offsets must rise"):
        compiled(torch.tensor([0, 5, 3]))


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
@pytest.mark.parametrize("count", [2, 8, 9, 256, 257, 5000])
def test_offsets_of_any_number(count: int, backend: str) -> None:
    """Short ones and long ones are read in another way."""
    offsets = torch.full((count,), 3)
    offsets[0] = 0
    with fcos_ops.backend(backend):
        assert len(fcos_ops.assign_targets(LEVELS, B, L, offsets).labels) == count - 1
        for where, value in ((0, 1), (-1, 2), (-1, 4), (count // 2, -1)):
            broken = offsets.clone()
            broken[where] = value
            with pytest.raises(ValueError, match=r"offsets must rise from 0 to 3 .*, got \["):
                fcos_ops.assign_targets(LEVELS, B, L, broken)


def test_offsets_that_repeat_one_number_are_read_once() -> None:
    """A list of them would take 8 TB."""
    with pytest.raises(ValueError, match=r"offsets must rise from 0 to 3 .*got \[0, 0, .*\]\.\.\."):
        fcos_ops.assign_targets(LEVELS, B, L, torch.zeros(1, dtype=torch.int64).expand(2**40))
    _checks.offsets("offsets", torch.zeros(1, dtype=torch.int64).expand(2**40), 0)
