"""A pyramid as ops take it: two tuples of plain numbers. Kernels check the values, too: they are
plain there even under a tracer."""

import math
from collections.abc import Sequence
from operator import mul
from typing import NoReturn

import torch

from fcos_ops import _checks
from fcos_ops._remembered import remembered
from fcos_ops.levels import MAX_SIZE, MAX_STRIDE, Level

_MAX_LEVELS = 16  # kMaxLevels in csrc/include/fcos_ops/types.h
_MAX_LOCATIONS = 2**40  # of all levels: what is counted or allocated for each fits 64 bits


@remembered
def flatten_levels(levels: Sequence[Level]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """(height, width, stride_y, stride_x) of every level, and its (scale, lower, upper)."""
    _checks.sequence("levels", levels)
    if not 1 <= len(levels) <= _MAX_LEVELS:
        raise ValueError(f"levels must hold 1 to {_MAX_LEVELS} levels, got {len(levels)}")
    grids: list[int] = []
    lengths: list[float] = []
    for index, level in enumerate(levels):
        if not isinstance(level, Level):
            raise TypeError(f"levels[{index}] must be a Level, got {_checks.describe(level)}")
        grids += level[:4]
        lengths += level[4:]
    if {*map(type, grids)} != {int}:
        grids = [_checks.integer(_field(i, 0, 4), n, -MAX_STRIDE) for i, n in enumerate(grids)]
    if {*map(type, lengths)} != {float}:
        lengths = [
            n if type(n) is float else _checks.number(_field(i, 4, 3), n)
            for i, n in enumerate(lengths)
        ]
    flat = tuple(grids), tuple(lengths)
    if {*map(type, grids)} == {int} and not torch.compiler.is_dynamo_compiling():
        check_levels(*flat)
    return flat


def _field(index: int, first: int, count: int) -> str:
    """The name of entry `index` of a tuple that holds `count` fields of each level from `first`."""
    level, field = divmod(index, count)
    return f"levels[{level}].{Level._fields[first + field]}"


def unflatten_levels(grids: Sequence[int], lengths: Sequence[float]) -> list[Level]:
    """The levels that `flatten_levels` flattened."""
    return [
        Level(*grids[4 * i : 4 * i + 4], *lengths[3 * i : 3 * i + 3])
        for i in range(len(grids) // 4)
    ]


# Tuples that `check_levels` has accepted, by the identity of the first.
_accepted: dict[int, tuple[Sequence[int], Sequence[float]]] = {}


def check_levels(grids: Sequence[int], lengths: Sequence[float]) -> None:
    """Checks the values of what `flatten_levels` made, where they are plain even under a tracer."""
    accepted = _accepted.get(id(grids))
    if accepted is not None and accepted[1] is lengths:
        return
    sizes, strides, scales = [*grids[::4], *grids[1::4]], [*grids[2::4], *grids[3::4]], lengths[::3]
    if not (
        (min(sizes) >= 0 and max(sizes) <= MAX_SIZE)
        and (min(strides) >= 1 and max(strides) <= MAX_STRIDE)
        and (min(scales) > 0 and max(scales) < math.inf and not any(map(math.isnan, lengths)))
        and sum(map(mul, grids[::4], grids[1::4])) <= _MAX_LOCATIONS
    ):
        _refuse(grids, lengths)
    if type(grids) is type(lengths) is tuple:
        if len(_accepted) >= 64:
            _accepted.clear()
        _accepted[id(grids)] = grids, lengths


def _refuse(grids: Sequence[int], lengths: Sequence[float]) -> NoReturn:
    for i, cells in enumerate(grids):
        lowest, highest = (0, MAX_SIZE) if i % 4 < 2 else (1, MAX_STRIDE)
        _checks.integer(_field(i, 0, 4), cells, lowest, highest)
    for i, length in enumerate(lengths):
        _checks.number(_field(i, 4, 3), length)
        if i % 3 == 0 and not 0 < length < math.inf:
            raise ValueError(f"{_field(i, 4, 3)} must be finite and > 0, got {length!r}")
    count = sum(map(mul, grids[::4], grids[1::4]))
    raise ValueError(f"levels must have at most {_MAX_LOCATIONS} locations together, got {count}")
