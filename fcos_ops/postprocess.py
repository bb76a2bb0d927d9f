"""From head outputs to detections."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fcos_ops import _checks, _library, _native, _views, reference
from fcos_ops.levels import Level, remembered
from fcos_ops.presets import (
    PostprocessRule,
    resolve_head_convention,
    resolve_postprocess_rule,
)
from fcos_ops.results import Detections

_INTEGER = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
_MAX_LEVELS = 16  # kMaxLevels in csrc/include/fcos_ops/types.h
_NO_LIMIT = 2**63 - 1  # of detections per class, as in csrc/include/fcos_ops/postprocess.h


def postprocess(
    cls_logits: Sequence[Tensor],
    ltrb: Sequence[Tensor],
    centerness: Sequence[Tensor],
    image_sizes: Tensor,
    *,
    levels: Sequence[Level],
    original_sizes: Tensor | None = None,
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
    cls_logits, ltrb, centerness = list(cls_logits), list(ltrb), list(centerness)
    _check(cls_logits, ltrb, centerness, image_sizes, original_sizes, levels)
    found = _OP(
        cls_logits,
        ltrb,
        centerness,
        image_sizes,
        original_sizes,
        *_geometry(levels),
        normalized,
        location_offset,
        *rule,
        _native.enabled("postprocess", cls_logits[0]),
    )
    return Detections(*found)


@remembered
def _geometry(
    levels: Sequence[Level],
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...]]:
    """stride_y, stride_x and scale of every level."""
    return (
        tuple([level.stride_y for level in levels]),
        tuple([level.stride_x for level in levels]),
        tuple([level.scale for level in levels]),
    )


def _check(
    cls_logits: list[Tensor],
    ltrb: list[Tensor],
    centerness: list[Tensor],
    image_sizes: Tensor,
    original_sizes: Tensor | None,
    levels: Sequence[Level],
) -> None:
    count = len(cls_logits)
    if not 1 <= count <= _MAX_LEVELS:
        raise ValueError(f"cls_logits must hold 1 to {_MAX_LEVELS} levels, got {count}")
    for name, values in (("ltrb", ltrb), ("centerness", centerness), ("levels", levels)):
        if len(values) != count:
            raise ValueError(
                f"{name} must hold {count} levels as cls_logits does, got {len(values)}"
            )
    first = cls_logits[0]
    _checks.tensor("cls_logits[0]", first, _checks.FLOATING)
    if first.dim() != 4:
        raise ValueError(
            f"cls_logits[0] must have shape [B, C, H, W], got {_checks.describe(first)}"
        )
    batch, num_classes, _, _ = first.shape
    _check_head("cls_logits", cls_logits, (batch, num_classes), first, levels)
    _check_head("ltrb", ltrb, (batch, 4), first, levels)
    _check_head("centerness", centerness, (batch, 1), first, levels)
    every_size = {"image_sizes": image_sizes}
    if original_sizes is not None:
        every_size["original_sizes"] = original_sizes
    for name, sizes in every_size.items():
        _checks.tensor(name, sizes, _INTEGER)
        _checks.shape(name, sizes, (batch, 2), "height and width of each image")
        _checks.same_device(name, sizes, "cls_logits", first)


def _check_head(
    name: str,
    head: list[Tensor],
    batch_and_channels: tuple[int, int],
    first: Tensor,
    levels: Sequence[Level],
) -> None:
    """Every tensor of `head` lives where `first` does, has the size of its level and one dtype."""
    _checks.tensor(f"{name}[0]", head[0], _checks.FLOATING)
    dtype, device = head[0].dtype, first.device
    for i, (tensor, level) in enumerate(zip(head, levels, strict=True)):
        if not (
            isinstance(tensor, Tensor)
            and tensor.dtype == dtype
            and tensor.device == device
            and tensor.shape == batch_and_channels + level[:2]
        ):
            _checks.head_output(f"{name}[{i}]", tensor, dtype, first, batch_and_channels, level)


# ---------------------------------------------------------------------------- torch registration


def _kernel(
    cls_logits: list[Tensor],
    ltrb: list[Tensor],
    centerness: list[Tensor],
    image_sizes: Tensor,
    original_sizes: Tensor | None,
    strides_y: Sequence[int],
    strides_x: Sequence[int],
    scales: Sequence[float],
    normalized: bool,
    location_offset: float,
    *rule_and_native: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rule, native = PostprocessRule(*rule_and_native[:-1]), rule_and_native[-1]
    if not native:
        return reference.postprocess(
            cls_logits,
            ltrb,
            centerness,
            image_sizes,
            original_sizes=original_sizes,
            levels=[
                Level(tensor.shape[2], tensor.shape[3], stride_y, stride_x, scale, 0.0, 0.0)
                for tensor, stride_y, stride_x, scale in zip(
                    cls_logits, strides_y, strides_x, scales, strict=True
                )
            ],
            rule=rule,
            normalized=normalized,
            location_offset=location_offset,
        )
    real = _native.maths_dtype(cls_logits[0], ltrb[0], centerness[0])
    if real == torch.float64:
        cls_logits = [tensor.double() for tensor in cls_logits]
        ltrb = [tensor.double() for tensor in ltrb]
        centerness = [tensor.double() for tensor in centerness]
    if image_sizes.dtype not in _checks.INTEGER or (
        original_sizes is not None and original_sizes.dtype != image_sizes.dtype
    ):
        image_sizes = image_sizes.to(torch.int64)
    image_sizes = image_sizes.contiguous()
    if original_sizes is not None:
        original_sizes = original_sizes.to(image_sizes.dtype).contiguous()
    found = _allocate(cls_logits[0], real, rule.max_detections)
    per_class = rule.max_detections_per_class
    batch, num_classes, _, _ = cls_logits[0].shape
    _native.call(
        "postprocess",
        image_sizes,
        _views.level_views(cls_logits),
        _native.DTYPE_CODES[cls_logits[0].dtype],
        _views.level_views(ltrb),
        _native.DTYPE_CODES[ltrb[0].dtype],
        _views.level_views(centerness),
        _native.DTYPE_CODES[centerness[0].dtype],
        strides_y,
        strides_x,
        scales,
        batch,
        num_classes,
        image_sizes,
        original_sizes,
        _native.DTYPE_CODES[image_sizes.dtype],
        normalized,
        location_offset,
        rule.threshold_on == "score",
        rule.rank_by == "score",
        rule.score == "sqrt",
        rule.score_threshold,
        rule.candidates_per_level,
        rule.iou_threshold,
        rule.max_detections,
        rule.clip == "before_nms",
        rule.drop_empty,
        rule.class_agnostic,
        _NO_LIMIT if per_class is None else per_class,
        *found,
    )
    return found


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
    real = _native.maths_dtype(cls_logits[0], ltrb[0], centerness[0])
    rule = PostprocessRule(*others[-1 - len(PostprocessRule._fields) : -1])
    return _allocate(cls_logits[0], real, rule.max_detections)


_OP = _library.define(
    "postprocess(Tensor[] cls_logits, Tensor[] ltrb, Tensor[] centerness, Tensor image_sizes, "
    "Tensor? original_sizes, SymInt[] strides_y, SymInt[] strides_x, float[] scales, "
    "bool normalized, float location_offset, str threshold_on, str rank_by, str score, "
    "float score_threshold, int candidates_per_level, float iou_threshold, int max_detections, "
    "str clip, bool drop_empty, bool class_agnostic, int? max_detections_per_class, "
    "bool native) -> (Tensor, Tensor, Tensor, Tensor)",
    kernel=_kernel,
    fake=_fake,
    tensor_lists=3,
)
