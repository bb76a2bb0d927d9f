"""A pyramid as ops take it: two tuples of plain numbers. Kernels check the values, too: they are
plain there even under a tracer."""

import math
from collections.abc import Sequence
from operator import mul
from typing import NoReturn

import torch

from fcos_ops import _checks
from fcos_ops._cache import cached_by_identity
from fcos_ops._constants import MAX_LEVELS, MAX_LOCATIONS, MAX_SIZE
from fcos_ops.levels import MAX_STRIDE, Level


@cached_by_identity
def flatten_levels(levels: Sequence[Level]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """(height, width, stride_y, stride_x) of every level, and its (scale, lower, upper)."""
    _checks.sequence("levels", levels)
    if not 1 <= len(levels) <= MAX_LEVELS:
        raise ValueError(f"levels must hold 1 to {MAX_LEVELS} levels, got {len(levels)}")
    sizes_and_strides: list[int] = []
    scales_and_ranges: list[float] = []
    for index, level in enumerate(levels):
        if not isinstance(level, Level):
            raise TypeError(f"levels[{index}] must be a Level, got {_checks.describe(level)}")
        sizes_and_strides += level[:4]
        scales_and_ranges += level[4:]
    if {*map(type, sizes_and_strides)} != {int}:
        sizes_and_strides = [
            _checks.integer(_field(i, 0, 4), n, -MAX_STRIDE)
            for i, n in enumerate(sizes_and_strides)
        ]
    if {*map(type, scales_and_ranges)} != {float}:
        scales_and_ranges = [
            n if type(n) is float else _checks.number(_field(i, 4, 3), n)
            for i, n in enumerate(scales_and_ranges)
        ]
    flat = tuple(sizes_and_strides), tuple(scales_and_ranges)
    if {*map(type, sizes_and_strides)} == {int} and not torch.compiler.is_dynamo_compiling():
        check_levels(*flat)
    return flat


def _field(index: int, first: int, count: int) -> str:
    """The name of entry `index` of a tuple that holds `count` fields of each level from `first`."""
    level, field = divmod(index, count)
    return f"levels[{level}].{Level._fields[first + field]}"


def unflatten_levels(
    sizes_and_strides: Sequence[int], scales_and_ranges: Sequence[float]
) -> list[Level]:
    """The levels that `flatten_levels` flattened, once their values are checked."""
    check_levels(sizes_and_strides, scales_and_ranges)
    return [
        Level(*sizes_and_strides[4 * i : 4 * i + 4], *scales_and_ranges[3 * i : 3 * i + 3])
        for i in range(len(sizes_and_strides) // 4)
    ]


# Tuples that `check_levels` has accepted, by the identity of the first.
_accepted: dict[int, tuple[Sequence[int], Sequence[float]]] = {}


def check_levels(sizes_and_strides: Sequence[int], scales_and_ranges: Sequence[float]) -> None:
    """Checks the values of what `flatten_levels` made, where they are plain even under a tracer."""
    accepted = _accepted.get(id(sizes_and_strides))
    if accepted is not None and accepted[1] is scales_and_ranges:
        return
    sizes = [*sizes_and_strides[::4], *sizes_and_strides[1::4]]
    strides = [*sizes_and_strides[2::4], *sizes_and_strides[3::4]]
    scales = scales_and_ranges[::3]
    if not (
        (min(sizes) >= 0 and max(sizes) <= MAX_SIZE)
        and (min(strides) >= 1 and max(strides) <= MAX_STRIDE)
        and (
            min(scales) > 0
            and max(scales) < math.inf
            and not any(map(math.isnan, scales_and_ranges))
        )
        and sum(map(mul, sizes_and_strides[::4], sizes_and_strides[1::4])) <= MAX_LOCATIONS
    ):
        _refuse(sizes_and_strides, scales_and_ranges)
    if type(sizes_and_strides) is type(scales_and_ranges) is tuple:
        if len(_accepted) >= 64:
            _accepted.clear()
        _accepted[id(sizes_and_strides)] = sizes_and_strides, scales_and_ranges


def _refuse(sizes_and_strides: Sequence[int], scales_and_ranges: Sequence[float]) -> NoReturn:
    for i, cells in enumerate(sizes_and_strides):
        lowest, highest = (0, MAX_SIZE) if i % 4 < 2 else (1, MAX_STRIDE)
        _checks.integer(_field(i, 0, 4), cells, lowest, highest)
    for i, length in enumerate(scales_and_ranges):
        _checks.number(_field(i, 4, 3), length)
        if i % 3 == 0 and not 0 < length < math.inf:
            raise ValueError(f"{_field(i, 4, 3)} must be finite and > 0, got {length!r}")
    count = sum(map(mul, sizes_and_strides[::4], sizes_and_strides[1::4]))
    raise ValueError(f"levels must have at most {MAX_LOCATIONS} locations together, got {count}")
