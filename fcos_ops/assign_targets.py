"""Target assignment."""

from collections.abc import Callable, Sequence
from functools import partial
from operator import mul
from typing import Any

import torch
from torch import Tensor

from fcos_ops import _checks, _library, _native, _schema, _views, reference
from fcos_ops._flat_levels import check_levels, flatten_levels, unflatten_levels
from fcos_ops.levels import Level
from fcos_ops.presets import (
    MATCHING_FIELDS,
    AssignmentRule,
    matching_switches,
    resolve_assignment_rule,
)
from fcos_ops.results import Targets


def assign_targets(
    levels: Sequence[Level],
    boxes: Tensor,
    labels: Tensor,
    offsets: Tensor,
    *,
    rule: str | AssignmentRule = "improved",
) -> Targets:
    """Which ground-truth box each location of a feature pyramid should predict (FCOS).

    A location matches a box when it lies inside it and, by the rule, near its centre, and when
    max(l, t, r, b), its distance to the farthest side, is within the level's size of interest. Of
    several boxes the one of the smallest area wins, then the one of the lowest index: Tian et al.,
    "FCOS: Fully Convolutional One-Stage Object Detection" (arXiv 1904.01355), section 3; centre
    sampling is from "FCOS: A Simple and Strong Anchor-Free Object Detector" (arXiv 2006.09214). The
    published variants are presets of `rule`. Time grows with the cells that boxes cover, not with
    locations times boxes, and no memory is taken but for the results.

    Args:
        levels: 1 to 16 levels of the pyramid, finest first; see `pyramid_levels`.
        boxes: [M, 4] xyxy pixels, float16, bfloat16, float32 or float64: the boxes of all images. A
            box with a NaN or an infinite coordinate, or without an inside, matches nothing.
        labels: [M], int64 or int32: the class of each box.
        offsets: [B + 1], int64 or int32, from 0 to M, not falling: image b owns
            boxes[offsets[b]:offsets[b + 1]].
        rule: name of a preset ("improved", "paper", "torchvision", "detectron2", "mmdet") or an
            `AssignmentRule`.

    Returns:
        `Targets`, for all N locations of each of the B images, level-major then row-major: labels
        [B, N] int64, ltrb [B, N, 4], centerness [B, N], matched [B, N] int64 (flat index into
        boxes), and the scalars num_pos (int64) and centerness_sum over the batch, for the
        normalizers of the losses. Background has label and match -1, and zeros. Floats are float32
        (float64 for float64 boxes). Not differentiable.

    Raises:
        TypeError: an argument has an unsupported type or dtype.
        ValueError: shapes or devices do not fit, a level is out of range, `rule` is unknown, boxes
            require a gradient, or offsets on a CPU are not as above (on a GPU they are clamped to
            [0, M]).
    """
    rule = resolve_assignment_rule(rule)
    flat_levels = flatten_levels(levels)
    check_objects(boxes, labels, offsets)
    op = _OP if _native.enabled("assign_targets", boxes) else _OP.reference
    return Targets(*op(boxes, labels, offsets, *flat_levels, *matching_switches(rule)))


def check_objects(boxes: Tensor, labels: Tensor, offsets: Tensor) -> None:
    """Checks the ground truth of a batch, but for the values of `offsets`."""
    _checks.tensor("boxes", boxes, _checks.FLOATING)
    _checks.boxes("boxes", boxes, 2)
    _checks.tensor("labels", labels, _checks.INTEGER)
    _checks.shape("labels", labels, (boxes.shape[0],), "one class a box")
    _checks.same_device("labels", labels, "boxes", boxes)
    _checks.offsets_of_images(offsets, boxes)
    _checks.no_gradient("boxes", boxes)


# ---------------------------------------------------------------------------- torch registration


def _shape(offsets: Tensor, level_sizes_and_strides: Sequence[int]) -> tuple[int, int]:
    """(images, locations)."""
    locations = sum(map(mul, level_sizes_and_strides[::4], level_sizes_and_strides[1::4]))
    return offsets.shape[0] - 1, locations


def _allocate(
    boxes: Tensor, labels: Tensor, offsets: Tensor, level_sizes_and_strides: Any, *options: Any
) -> tuple[Tensor, ...]:
    """The fields of Targets, not yet computed."""
    batch, locations = _shape(offsets, level_sizes_and_strides)
    device, real = boxes.device, _native.compute_dtype(boxes)
    return (
        torch.empty(batch, locations, dtype=torch.int64, device=device),
        torch.empty(batch, locations, 4, dtype=real, device=device),
        torch.empty(batch, locations, dtype=real, device=device),
        torch.empty(batch, locations, dtype=torch.int64, device=device),
        _views.empty((), torch.int64, device),
        _views.empty((), real, device),
    )


def _allocate_matches(
    boxes: Tensor, labels: Tensor, offsets: Tensor, level_sizes_and_strides: Any, *options: Any
) -> tuple[Tensor, ...]:
    """An int32 `matched`, and (num_pos, centerness_sum) of the batch and of each image."""
    batch, locations = _shape(offsets, level_sizes_and_strides)
    device, real = boxes.device, _native.compute_dtype(boxes)
    return (
        torch.empty((batch, locations), dtype=torch.int32, device=device),
        torch.empty(2, dtype=real, device=device),
        torch.empty((batch, 2), dtype=real, device=device),
    )


def _compute(
    allocate: Callable[..., tuple[Tensor, ...]],
    before: tuple[None, ...],
    behind: tuple[None, ...],
    boxes: Tensor,
    labels: Tensor,
    offsets: Tensor,
    level_sizes_and_strides: Sequence[int],
    level_scales_and_ranges: Sequence[float],
    *rule: Any,
) -> tuple[Tensor, ...]:
    """What `allocate` makes, computed. The native function takes other outputs, too, which are not
    needed: some before those, some behind them."""
    check_levels(level_sizes_and_strides, level_scales_and_ranges)
    _views.check_offsets_to_copy(offsets, boxes.shape[0])
    outputs = allocate(boxes, labels, offsets, level_sizes_and_strides)
    _native.call(
        "assign_targets",
        boxes,
        _views.contiguous("boxes", boxes),
        _views.contiguous("labels", labels),
        _views.contiguous("offsets", offsets),
        level_sizes_and_strides,
        level_scales_and_ranges,
        *rule,
        *before,
        *outputs,
        *behind,
    )
    return outputs


def _reference(boxes: Tensor, labels: Tensor, offsets: Tensor, *options: Any) -> Targets:
    levels = unflatten_levels(*options[:2])
    _checks.offsets("offsets", offsets, boxes.shape[0])
    switches = dict(zip(MATCHING_FIELDS, options[2:], strict=True))
    rule = AssignmentRule(**switches, derived_strides=False, ranges=())
    return reference.assign_targets(levels, boxes, labels, offsets, rule=rule)


_ARGUMENTS = (
    "(Tensor boxes, Tensor labels, Tensor offsets, SymInt[] level_sizes_and_strides, "
    f"float[] level_scales_and_ranges, {_schema.arguments(AssignmentRule, MATCHING_FIELDS)})"
)
_OP = _library.Op(
    f"assign_targets{_ARGUMENTS} -> (Tensor labels, Tensor ltrb, Tensor centerness, "
    "Tensor matched, Tensor num_pos, Tensor centerness_sum)",
    kernel=partial(_compute, _allocate, (), (None,) * 3),
    fake=_allocate,
    reference=_reference,
)

# What `fcos_loss` needs of it: (matched [B, N] int32, counts [2], image_counts [B, 2]), the counts
# being (num_pos, centerness_sum).
MATCH_OP = _library.Op(
    f"match_locations{_ARGUMENTS} -> (Tensor matched, Tensor counts, Tensor image_counts)",
    kernel=partial(_compute, _allocate_matches, (None,) * 6, ()),
    fake=_allocate_matches,
)
