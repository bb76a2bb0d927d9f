"""The whole training loss of FCOS in one pass over the outputs of the head."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fcos_ops import _checks, _library, _native, _views
from fcos_ops._fcos_loss_op import LOSS_OP
from fcos_ops._flat_levels import flatten_levels
from fcos_ops._heads import NAMES, checked_heads
from fcos_ops.assign_targets import MATCH_OP, assign_targets, check_objects
from fcos_ops.levels import Level
from fcos_ops.presets import (
    AssignmentRule,
    LossRule,
    matching_switches,
    resolve_assignment_rule,
    resolve_loss_rule,
)
from fcos_ops.reference.fcos_loss import losses_of_targets
from fcos_ops.results import FcosLosses


def fcos_loss(
    cls_logits: Sequence[Tensor],
    ltrb: Sequence[Tensor],
    centerness: Sequence[Tensor],
    boxes: Tensor,
    labels: Tensor,
    offsets: Tensor,
    *,
    levels: Sequence[Level],
    rule: str | AssignmentRule = "improved",
    loss: str | LossRule | None = None,
    normalize: Callable[[Tensor], Tensor] | None = None,
    expected_scale: float | Tensor | None = None,
) -> FcosLosses:
    """Target assignment and the three losses of FCOS: `assign_targets`, `sigmoid_focal_loss` of all
    locations, `iou_loss` and `centerness_loss` of the positive ones (Tian et al., arXiv 1904.01355,
    section 3, and 2006.09214).

    The head's maps are read where they lie, once, and each gradient comes out of the same pass,
    already normalised, in the layout of its map: nothing is permuted, joined or copied. Memory
    beyond inputs and gradients is one int32 a location. Nothing is read back to the host.

    Args:
        cls_logits: one tensor a level (1 to 16 of them), [B, C, H, W] logits. Each head is float16,
            bfloat16, float32 or float64, one dtype for all levels, any strides.
        ltrb: one tensor a level, [B, 4, H, W]: distances from the location to the left, top, right
            and bottom side, after the activation, in the unit that `rule` says: pixels, or
            `Level.scale` where it normalises.
        centerness: one tensor a level, [B, 1, H, W] logits.
        boxes: [M, 4] xyxy pixels, floats: the boxes of all images.
        labels: [M], int64 or int32: a class in [0, C). Locations of a box of label -1 are
            background, of label -2 ignored by the focal loss, and neither has the other losses,
            though they count; any other label makes the classification loss NaN.
        offsets: [B + 1], int64 or int32: image b owns boxes[offsets[b]:offsets[b + 1]].
        levels: the geometry of each level, as `pyramid_levels` makes it.
        rule: how locations are matched: name of a preset or an `AssignmentRule`.
        loss: how losses are weighted: name of a preset or a `LossRule`. None: the preset of the
            name of `rule`, "improved" where rule is no name.
        normalize: called between assignment and losses with the counts (num_pos, centerness_sum),
            [2] floats on the device ([B, 2], of each image, with a rule of "per_image"); returns
            what to divide by instead, a tensor of the same shape. `mean_over_processes` is one; a
            moving average another. The losses divide by max(num_pos, 1) and
            max(centerness_sum, 1e-6).
        expected_scale: the derivative that is expected to come back for each loss: loss weight
            times AMP scale, a number in [1e-30, 1e30] or a one-element tensor (which is not read
            back to the host: 1 stands in for a value that is not finite and > 0). Gradients are
            stored multiplied by it, so float16 ones do not underflow and need not be computed again
            in the backward pass, and a derivative that is as expected costs nothing. The gradients
            of a loss whose derivative is another are computed again, from the maps, which are kept
            for that; so it never changes a result but by rounding (and where a derivative is not
            finite: what has no loss then keeps a gradient of 0).

    Returns:
        `FcosLosses(classification, bbox_regression, centerness, num_pos, centerness_sum)`, scalars:
        float32 (float64 where a head is float64). The heads are differentiable, once.

    Raises:
        TypeError: an argument is no tensor, rule, level or function, or has an unsupported dtype.
        ValueError: shapes, devices or numbers of levels do not fit, a rule is unknown, a number is
            out of range, boxes or expected_scale require a gradient, `normalize` returns another
            shape, or offsets on a CPU do not rise from 0 to M.
    """
    name, rule = rule, resolve_assignment_rule(rule)
    loss_rule = resolve_loss_rule(loss, name)
    heads = checked_heads(cls_logits, ltrb, centerness, levels)
    _check_ground_truth(heads[0][0], boxes, labels, offsets)
    factor, expected = _checked_expected_scale(expected_scale, boxes)
    if normalize is not None and not callable(normalize):
        raise TypeError(f"normalize must be a function or None, got {_checks.describe(normalize)}")
    if not _native.enabled("fcos_loss", heads[0][0]):
        # reference.fcos_loss in two parts: a tracer sees the first as one op.
        targets = assign_targets(levels, boxes, labels, offsets, rule=rule)
        return losses_of_targets(*heads, targets, loss_rule, normalize and _checked(normalize))

    flat_levels = flatten_levels(levels)
    switches = matching_switches(rule)
    matched, counts, image_counts = MATCH_OP(boxes, labels, offsets, *flat_levels, *switches)
    normalizers = counts if loss_rule.normalizer == "positives" else image_counts
    if normalize is not None:
        normalizers = _checked(normalize)(normalizers).detach()
    real = _native.compute_dtype(*[head[0] for head in heads])
    if real == torch.float64:
        heads = _in_double(heads)
    losses = LOSS_OP(
        [*heads[0], *heads[1], *heads[2]],
        matched,
        boxes,
        labels,
        normalizers,
        expected,
        *flat_levels,
        rule.location_offset,
        rule.normalize_ltrb,
        *loss_rule,
        factor,
        *[_stores_gradient(head, expected_scale is not None) for head in heads],
    )
    return FcosLosses(*losses[:3], *counts.to(real).unbind(0))


def _in_double(heads: tuple[list[Tensor], ...]) -> Any:
    """The heads in float64, by copies that torch would make of memory that was freed, too."""
    for name, head in zip(NAMES, heads, strict=True):
        for i, tensor in enumerate(head):
            if _library.runs_eagerly((tensor,)) and not (
                tensor.is_meta or tensor._is_zerotensor() or _views.has_memory(tensor)
            ):
                raise ValueError(
                    f"{name}[{i}] must have memory, got a tensor whose data is not allocated"
                )
    return tuple([tensor.double() for tensor in head] for head in heads)


def mean_over_processes(counts: Tensor) -> Tensor:
    """The mean of a tensor over the processes of the default group, by one all_reduce; the tensor
    itself where torch.distributed is not initialised. For `fcos_loss(..., normalize=...)`: as
    DistributedDataParallel averages gradients, dividing by mean counts is dividing by global ones.
    """
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return counts
    total = counts.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def _checked(normalize: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """`normalize`, checking what it returns."""

    def checked(counts: Tensor) -> Tensor:
        result = normalize(counts)
        _checks.tensor("the result of normalize", result, _checks.FLOATING)
        _checks.shape("the result of normalize", result, counts.shape, "that of its argument")
        _checks.same_device("the result of normalize", result, "boxes", counts)
        return result

    return checked


def _stores_gradient(head: list[Tensor], scale_is_known: bool) -> bool:
    """Whether the forward pass shall keep the gradient of a head.

    A float16 gradient waits for its scale: without it most of it would flush to zero.
    """
    if not torch.is_grad_enabled() or (head[0].dtype == torch.float16 and not scale_is_known):
        return False
    return any(tensor.requires_grad for tensor in head)


def _check_ground_truth(first: Tensor, boxes: Tensor, labels: Tensor, offsets: Tensor) -> None:
    check_objects(boxes, labels, offsets)
    _checks.same_device("boxes", boxes, "cls_logits[0]", first)
    _checks.shape("offsets", offsets, (first.shape[0] + 1,), "one more than images")


def _checked_expected_scale(value: object, boxes: Tensor) -> tuple[float | None, Tensor | None]:
    """What is expected as a number, or as a tensor."""
    if value is None:
        return None, None
    if isinstance(value, Tensor):
        _checks.tensor("expected_scale", value, _checks.FLOATING)
        if value.numel() != 1:
            raise ValueError(f"expected_scale must hold one number, got {_checks.describe(value)}")
        _checks.same_device("expected_scale", value, "boxes", boxes)
        _checks.no_gradient("expected_scale", value)
        return None, value
    return _checks.number("expected_scale", value, 1e-30, 1e30), None
