"""The geometry of a feature pyramid: one `Level` a feature map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple

import torch

from fcos_ops.presets import AssignmentRule, resolve_assignment_rule


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


def remembered(function: Callable[[Sequence[Level]], Any]) -> Callable[[Sequence[Level]], Any]:
    """Decorates a function of a pyramid, which should not change what it returns: results for the
    last tuples of levels are kept.

    A tuple is known by its identity: hashing it would cost more, and 1, 1.0 and True hash alike.
    """
    kept: dict[int, tuple[Any, Any]] = {}

    @wraps(function)
    def wrapper(levels: Sequence[Level]) -> Any:
        if torch.compiler.is_dynamo_compiling() or type(levels) is not tuple:
            return function(levels)
        entry = kept.get(id(levels))
        if entry is None:
            if len(kept) >= 64:
                kept.clear()
            entry = kept[id(levels)] = levels, function(levels)
        return entry[1]

    return wrapper


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
        TypeError: rule is neither name nor `AssignmentRule`.
        ValueError: the numbers of sizes, strides and rule.ranges differ, a value is out of range,
            or the rule is unknown.
    """
    rule = resolve_assignment_rule(rule)
    if not len(sizes) == len(strides) == len(rule.ranges):
        raise ValueError(
            f"sizes: expected as many levels as strides and rule.ranges, got {len(sizes)} sizes, "
            f"{len(strides)} strides and {len(rule.ranges)} ranges"
        )
    if image_size is not None and len(image_size) != 2:
        raise ValueError(f"image_size: expected (height, width), got {image_size!r}")
    levels = []
    for index, (size, stride, (lower, upper)) in enumerate(
        zip(sizes, strides, rule.ranges, strict=True)
    ):
        if len(size) != 2:
            raise ValueError(f"sizes[{index}]: expected (height, width), got {size!r}")
        if stride <= 0:
            raise ValueError(f"strides[{index}]: expected a positive number, got {stride!r}")
        height, width = size
        if height < 0 or width < 0:
            raise ValueError(f"sizes[{index}]: expected sizes of 0 or more, got {size!r}")
        stride_y = stride_x = stride
        if rule.derived_strides and image_size is not None and height > 0 and width > 0:
            stride_y, stride_x = image_size[0] // height, image_size[1] // width
        levels.append(Level(height, width, stride_y, stride_x, float(stride), lower, upper))
    return tuple(levels)
