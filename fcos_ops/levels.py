"""The geometry of a feature pyramid: one `Level` a feature map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from fcos_ops import _checks
from fcos_ops._constants import MAX_SIZE
from fcos_ops.presets import AssignmentRule, resolve_assignment_rule

MAX_STRIDE = 2**62  # so that a stride can be added to another in 64 bits


class Level(NamedTuple):
    """One level of the pyramid, in plain Python numbers.

    height, width: cells; may be symbolic under torch.compile. stride_y, stride_x: pixels between
    neighbouring locations.
    scale: the level's "anchor size" in pixels: unit of normalised distances and of the centre
    radius.
    lower, upper: size of interest, pixels: the range of max(l, t, r, b) that this level detects.
    """

    height: int
    width: int
    stride_y: int
    stride_x: int
    scale: float
    lower: float
    upper: float


def pyramid_levels(
    sizes: Sequence[Sequence[int]],
    *,
    strides: Sequence[int] = (8, 16, 32, 64, 128),
    image_size: Sequence[int] | None = None,
    rule: str | AssignmentRule = "improved",
) -> tuple[Level, ...]:
    """The levels of a pyramid.

    Args:
        sizes: (height, width) of every feature map, cells, finest first.
        strides: nominal stride of each, pixels; also its `Level.scale`.
        image_size: (height, width) of the padded batch, pixels; with a rule of `derived_strides`
            (torchvision) the strides between locations are image_size // size on each axis, as
            torchvision's AnchorGenerator has it: not 64 and 128 on P6 and P7. Without it, and for
            other rules, they are the nominal ones.
        rule: name of a preset or an `AssignmentRule`, whose ranges are the levels' sizes of
            interest.

    Returns:
        One `Level` a feature map.

    Raises:
        TypeError: an argument is no list or tuple, one of its entries no number, or rule neither
            name nor `AssignmentRule`.
        ValueError: the numbers of sizes, strides and rule.ranges differ, a value is out of range,
            image_size is smaller than a feature map, or the rule is unknown.
    """
    rule = resolve_assignment_rule(rule)
    _checks.sequence("sizes", sizes)
    _checks.sequence("strides", strides)
    _checks.sequence("rule.ranges", rule.ranges)
    if not len(sizes) == len(strides) == len(rule.ranges):
        raise ValueError(
            f"sizes must have as many entries as strides and rule.ranges, got {len(sizes)} sizes, "
            f"{len(strides)} strides and {len(rule.ranges)} ranges"
        )
    image = None if image_size is None else _size("image_size", image_size)
    levels = []
    for index, bounds in enumerate(rule.ranges):
        lower, upper = _range(f"rule.ranges[{index}]", bounds)
        height, width = _size(f"sizes[{index}]", sizes[index])
        stride = _checks.integer(f"strides[{index}]", strides[index], 1, MAX_STRIDE)
        stride_y = stride_x = stride
        if rule.derived_strides and image is not None and height > 0 and width > 0:
            stride_y, stride_x = image[0] // height, image[1] // width
        levels.append(Level(height, width, stride_y, stride_x, float(stride), lower, upper))
    if image is not None:
        _check_covers(image, levels)
    return tuple(levels)


def _size(name: str, value: Sequence[int]) -> tuple[int, int]:
    first, second = _pair(name, value, "(height, width)")
    return (
        _checks.integer(f"{name}[0]", first, 0, MAX_SIZE),
        _checks.integer(f"{name}[1]", second, 0, MAX_SIZE),
    )


def _range(name: str, value: Sequence[float]) -> tuple[float, float]:
    first, second = _pair(name, value, "(lower, upper)")
    return _checks.number(f"{name}[0]", first), _checks.number(f"{name}[1]", second)


def _pair(name: str, value: Sequence[Any], expected: str) -> Sequence[Any]:
    """`value`, once it is sure that it has two entries."""
    _checks.sequence(name, value)
    if len(value) != 2:
        raise ValueError(f"{name} must be {expected}, got {_checks.describe(value)}")
    return value


def _check_covers(image: tuple[int, int], levels: Sequence[Level]) -> None:
    """An image has a pixel for every cell: else strides would be 0. Symbolic numbers are left to
    the kernels: to compare them here would limit the graph."""
    if torch.compiler.is_compiling():
        return
    for index, (height, width, *_) in enumerate(levels):
        if image[0] < height or image[1] < width:
            raise ValueError(
                f"image_size must not be smaller than sizes[{index}], {(height, width)}, "
                f"got {image}"
            )
