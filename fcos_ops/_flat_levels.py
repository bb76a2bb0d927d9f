"""A pyramid as ops take it: two tuples of plain numbers, whose values are checked in the kernels,
where they are plain even under a tracer."""

import math
from collections.abc import Sequence
from numbers import Integral, Real

from fcos_ops import _checks
from fcos_ops.levels import Level, remembered

_MAX_LEVELS = 16  # kMaxLevels in csrc/include/fcos_ops/types.h
_MAX_SIZE = 2**31 - 2  # kMaxSize in csrc/ops/assign_targets.cpp


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
    return tuple(grids), tuple(lengths)


def unflatten_levels(grids: Sequence[int], lengths: Sequence[float]) -> list[Level]:
    """The levels that `flatten_levels` flattened."""
    return [
        Level(*grids[4 * i : 4 * i + 4], *lengths[3 * i : 3 * i + 3])
        for i in range(len(grids) // 4)
    ]


# Tuples that `check_levels` has accepted, by the identity of the first.
_accepted: dict[int, tuple[Sequence[int], Sequence[float]]] = {}


def check_levels(grids: Sequence[int], lengths: Sequence[float]) -> None:
    """Checks what `flatten_levels` made, where it holds plain numbers even under a tracer."""
    accepted = _accepted.get(id(grids))
    if accepted is not None and accepted[1] is lengths:
        return
    if not (_all_are(grids, int, Integral) and _all_are(lengths, float, Real)):
        raise TypeError(
            "levels must have integers for sizes and strides and numbers for scale, lower and "
            f"upper, got {unflatten_levels(grids, lengths)}"
        )
    sizes, strides = [*grids[::4], *grids[1::4]], [*grids[2::4], *grids[3::4]]
    if not (min(sizes) >= 0 and max(sizes) <= _MAX_SIZE and min(strides) > 0):
        raise ValueError(
            f"levels must have sizes in [0, {_MAX_SIZE}] and strides > 0, "
            f"got {unflatten_levels(grids, lengths)}"
        )
    scales = lengths[::3]
    if any(map(math.isnan, lengths)) or not (min(scales) > 0 and max(scales) < math.inf):
        raise ValueError(
            "levels must have a finite scale > 0 and no NaN, "
            f"got {unflatten_levels(grids, lengths)}"
        )
    if type(grids) is type(lengths) is tuple:
        if len(_accepted) >= 64:
            _accepted.clear()
        _accepted[id(grids)] = grids, lengths


def _all_are(values: Sequence[object], usual: type, general: type) -> bool:
    return {*map(type, values)} == {usual} or all(isinstance(v, general) for v in values)
