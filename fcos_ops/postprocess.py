"""From head outputs to detections."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fcos_ops import _checks, _library, _native, _schema, _views, reference
from fcos_ops._flat_levels import check_levels, flatten_levels, unflatten_levels
from fcos_ops._heads import checked_heads
from fcos_ops.levels import Level
from fcos_ops.presets import (
    PostprocessRule,
    resolve_head_convention,
    resolve_postprocess_rule,
)
from fcos_ops.results import Detections

_INTEGER = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def postprocess(
    cls_logits: Sequence[Tensor],
    ltrb: Sequence[Tensor],
    centerness: Sequence[Tensor],
    image_sizes: Tensor,
    *,
    levels: Sequence[Level],
    original_sizes: Tensor | None = None,
    classes: Tensor | None = None,
    rule: str | PostprocessRule = "improved",
    normalized: bool | None = None,
    location_offset: float | None = None,
) -> Detections:
    """Detections of a batch: score, threshold, best of each level, decode, clip, NMS, resize.

    Every (location, class) pair is a candidate; its score is made of p = sigmoid(class logit) and
    q = sigmoid(centerness logit) as `rule` says (FCOS, arXiv 1904.01355, section 3.2; the published
    variants: `POSTPROCESS_RULES`). Those above the threshold compete level by level for
    candidates_per_level places, boxes are decoded and clipped, and non-maximum suppression (as
    `nms`, per class unless class_agnostic) leaves at most max_detections an image. Output shapes
    depend on the inputs' shapes only and nothing is read back to the host. The maths is float32, or
    float64 where an input is float64; a class logit below -87 (-708) counts as a score of 0. Not
    differentiable.

    Args:
        cls_logits: one tensor a level (1 to 16 of them), [B, C, H, W] logits. All inputs are
            float16, bfloat16, float32 or float64, one dtype for all levels, any strides; NCHW and
            channels_last are read where they lie.
        ltrb: one tensor a level, [B, 4, H, W]: distances from the location to the left, top, right
            and bottom side, after the activation.
        centerness: one tensor a level, [B, 1, H, W] logits.
        image_sizes: [B, 2] integers, (height, width) in pixels without padding, to clip boxes to.
        levels: the geometry of each level, as `pyramid_levels` makes it.
        original_sizes: [B, 2] integers, (height, width) of the images before they were resized to
            image_sizes: boxes are then given in pixels of the original, clipped to it (0 in an
            image_sizes of 0). None: in pixels of the resized image.
        classes: [C] bool: those that may be detected. The others are no candidates: they neither
            compete nor suppress. None: all.
        rule: name of a preset, or a `PostprocessRule`.
        normalized: ltrb is in units of `Level.scale`, else pixels. None: as the assignment preset
            of the rule's name has it; True where the rule is no name.
        location_offset: a location is at (index + location_offset) * stride. None: as above; 0.5
            where the rule is no name.

    Returns:
        `Detections(boxes, scores, labels, count)`: boxes [B, D, 4] xyxy in pixels, scores [B, D],
        labels [B, D] int64, D = rule.max_detections, by falling score (equals by level, then rank
        in the level, where equals go by location * C + class); padded behind count [B] int64 with
        zeros, labels with -1. NaN scores and boxes are never detections.

    Raises:
        TypeError: an argument is no tensor, rule or level, or has an unsupported dtype.
        ValueError: shapes, devices or numbers of levels do not fit, or the rule is unknown or out
            of range.
    """
    normalized, location_offset = resolve_head_convention(rule, normalized, location_offset)
    rule = resolve_postprocess_rule(rule)
    heads = checked_heads(cls_logits, ltrb, centerness, levels)
    first = heads[0][0]
    _check_sizes(image_sizes, original_sizes, first)
    if classes is not None:
        _checks.tensor("classes", classes, (torch.bool,))
        _checks.shape("classes", classes, (first.shape[1],), "one a class")
        _checks.same_device("classes", classes, "cls_logits[0]", first)
    op = _OP if _native.enabled("postprocess", first) else _OP.reference
    detections = op(
        *heads,
        image_sizes,
        original_sizes,
        classes,
        *flatten_levels(levels),
        normalized,
        location_offset,
        *rule,
    )
    return Detections(*detections)


def _check_sizes(image_sizes: Tensor, original_sizes: Tensor | None, first: Tensor) -> None:
    every_size = {"image_sizes": image_sizes}
    if original_sizes is not None:
        every_size["original_sizes"] = original_sizes
    for name, sizes in every_size.items():
        _checks.tensor(name, sizes, _INTEGER)
        _checks.shape(name, sizes, (first.shape[0], 2), "height and width of each image")
        _checks.same_device(name, sizes, "cls_logits[0]", first)


# ---------------------------------------------------------------------------- torch registration


def _kernel(
    cls_logits: list[Tensor],
    ltrb: list[Tensor],
    centerness: list[Tensor],
    image_sizes: Tensor,
    original_sizes: Tensor | None,
    classes: Tensor | None,
    level_sizes_and_strides: Sequence[int],
    level_scales_and_ranges: Sequence[float],
    normalized: bool,
    location_offset: float,
    *options: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rule = PostprocessRule(*options)
    check_levels(level_sizes_and_strides, level_scales_and_ranges)
    if not (cls_logits and ltrb and centerness):
        raise ValueError("cls_logits, ltrb and centerness must hold one tensor a level, got none")
    real = _native.compute_dtype(cls_logits[0], ltrb[0], centerness[0])
    if real == torch.float64:
        cls_logits = [_views.cast("cls_logits", tensor, real) for tensor in cls_logits]
        ltrb = [_views.cast("ltrb", tensor, real) for tensor in ltrb]
        centerness = [_views.cast("centerness", tensor, real) for tensor in centerness]
    if image_sizes.dtype not in _checks.INTEGER or (
        original_sizes is not None and original_sizes.dtype != image_sizes.dtype
    ):
        _check_sizes(image_sizes, original_sizes, cls_logits[0])
        image_sizes = _views.cast("image_sizes", image_sizes, torch.int64)
    image_sizes = _views.contiguous("image_sizes", image_sizes)
    if original_sizes is not None:
        dtype = image_sizes.dtype
        original_sizes = _views.contiguous("original_sizes", original_sizes, dtype)
    if classes is not None:
        classes = _views.contiguous("classes", classes)
    detections = _allocate(cls_logits[0], real, rule.max_detections)
    _native.call(
        "postprocess",
        image_sizes,
        cls_logits,
        ltrb,
        centerness,
        level_sizes_and_strides,
        level_scales_and_ranges,
        image_sizes,
        original_sizes,
        classes,
        normalized,
        location_offset,
        *rule,
        *detections,
    )
    return detections


def _reference(*arguments: Any) -> Detections:
    cls_logits, ltrb, centerness, image_sizes, original_sizes, classes, *options = arguments
    return reference.postprocess(
        cls_logits,
        ltrb,
        centerness,
        image_sizes,
        original_sizes=original_sizes,
        classes=classes,
        levels=unflatten_levels(*options[:2]),
        rule=PostprocessRule(*options[4:]),
        normalized=options[2],
        location_offset=options[3],
    )


def _allocate(
    like: Tensor, real: torch.dtype, max_detections: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes, scores, labels and count, not yet computed."""
    batch, device = like.shape[0], like.device
    return (
        torch.empty(batch, max_detections, 4, dtype=real, device=device),
        torch.empty(batch, max_detections, dtype=real, device=device),
        torch.empty(batch, max_detections, dtype=torch.int64, device=device),
        torch.empty(batch, dtype=torch.int64, device=device),
    )


def _fake(
    cls_logits: list[Tensor], ltrb: list[Tensor], centerness: list[Tensor], *others: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    real = _native.compute_dtype(cls_logits[0], ltrb[0], centerness[0])
    rule = PostprocessRule(*others[-len(PostprocessRule._fields) :])
    return _allocate(cls_logits[0], real, rule.max_detections)


_OP = _library.Op(
    "postprocess(Tensor[] cls_logits, Tensor[] ltrb, Tensor[] centerness, Tensor image_sizes, "
    "Tensor? original_sizes, Tensor? classes, SymInt[] level_sizes_and_strides, "
    "float[] level_scales_and_ranges, "
    f"bool normalized, float location_offset, {_schema.arguments(PostprocessRule)}) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    kernel=_kernel,
    fake=_fake,
    reference=_reference,
    tensor_lists=3,
)
