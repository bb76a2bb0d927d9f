"""The published FCOS variants as named presets of explicit switches.

Sources: `paper` and `improved` are the authors' configurations `fcos_R_50_FPN_1x` and
`fcos_imprv_R_50_FPN_1x` (tianzhi0549/FCOS) in the modern box convention (x2 = x1 + width);
`torchvision` is `fcos_resnet50_fpn`; `detectron2` is `fcos_R_50_FPN_1x.py`; `mmdet` is the base
configuration `fcos_r50-caffe_fpn_gn-head_1x_coco`. For mmdet's configuration with all tricks
(`center-normbbox-centeronreg-giou`) assign with `improved` and post-process with
`POSTPROCESS_RULES["mmdet"]._replace(iou_threshold=0.6)`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeVar

from fcos_ops import _checks, _constants, _schema
from fcos_ops._cache import cached_by_identity

_INCLUSIVE_RANGES = ((-1.0, 64.0), (64.0, 128.0), (128.0, 256.0), (256.0, 512.0), (512.0, 1e8))
_STRICT_RANGES = ((0.0, 64.0), (64.0, 128.0), (128.0, 256.0), (256.0, 512.0), (512.0, float("inf")))


class AssignmentRule(NamedTuple):
    """How locations are matched to ground-truth boxes. Lengths are pixels unless stated.

    location_offset: a cell's location is at (index + location_offset) * stride; 0.5 or 0.0.
    center_radius: half side of the centre square in units of `Level.scale`; <= 0: the whole box.
    center_region: "clipped" (centre square clipped to the box) or "chebyshev" (|x - cx| < radius,
    inside the box).
    range_inclusive: lower <= max(l, t, r, b) <= upper; else both comparisons are strict.
    area_rule: "exact" (smallest area, then lowest index) or "float32_complement" (largest
    float32(1e8) - area in float32, then lowest index: areas within about 8 square pixels tie).
    max_area: a box whose area is max_area or more never matches, square pixels.
    normalize_ltrb: distances (targets and head outputs) are in units of `Level.scale`, else pixels.
    derived_strides: locations are padded image size // feature size apart, not the nominal stride.
    ranges: (lower, upper) size of interest of each level.
    """

    location_offset: float
    center_radius: float
    center_region: str
    range_inclusive: bool
    area_rule: str
    max_area: float
    normalize_ltrb: bool
    derived_strides: bool
    ranges: tuple[tuple[float, float], ...]


# Those that assign_targets reads; `pyramid_levels` has made its levels by the others.
MATCHING_FIELDS = AssignmentRule._fields[: AssignmentRule._fields.index("derived_strides")]


def matching_switches(rule: AssignmentRule) -> tuple[object, ...]:
    """What the rule has in MATCHING_FIELDS."""
    return rule[: len(MATCHING_FIELDS)]


class PostprocessRule(NamedTuple):
    """How head outputs become detections.

    threshold_on: "class" (sigmoid(class logit) > score_threshold) or "score" (final score >
    score_threshold).
    rank_by: "score" or "class": the key of the top-k of each level.
    score: "sqrt" (sqrt(class * centerness)) or "product" (class * centerness).
    score_threshold: any; below 0 nothing is left out. candidates_per_level: that k.
    iou_threshold: 0 to 1, of the NMS. max_detections: of an image.
    clip: "before_nms" or "after_nms" (after the cut to max_detections): when boxes are clipped to
    the image.
    drop_empty: drop boxes whose width or height is not positive, right after clipping.
    class_agnostic: NMS lets boxes suppress those of other classes, too.
    max_detections_per_class: of an image, among what NMS leaves and before the cut to
    max_detections; None: no limit.
    """

    threshold_on: str
    rank_by: str
    score: str
    score_threshold: float
    candidates_per_level: int
    iou_threshold: float
    max_detections: int
    clip: str
    drop_empty: bool
    class_agnostic: bool = False
    max_detections_per_class: int | None = None


class LossRule(NamedTuple):
    """How the three losses of FCOS are weighted and normalised.

    box_loss: kind of `iou_loss`: "iou", "linear_iou", "giou", "diou" or "ciou".
    box_weight: "centerness" (each positive weighs its centerness target, divided by their sum) or
    "uniform" (each weighs 1, divided by the number of positives).
    normalizer: "positives" (of the whole batch) or "per_image" (each image's losses are divided by
    its own positives, or sum of centerness; the loss is the mean over images). Moving averages and
    means over processes are made by `fcos_loss(..., normalize=...)`.
    alpha, gamma: of the focal loss. eps: of the IoU loss.
    """

    box_loss: str = "giou"
    box_weight: str = "centerness"
    normalizer: str = "positives"
    alpha: float = 0.25
    gamma: float = 2.0
    eps: float = 1e-7


_Rule = TypeVar("_Rule", AssignmentRule, PostprocessRule, LossRule)

# By the names of fields, of which those of one name are of one type in all rules: their types, and
# the (minimum, maximum) of numbers. A float without one may be any but NaN; every int has one.
_TYPES = {
    **_schema.types(AssignmentRule),
    **_schema.types(PostprocessRule),
    **_schema.types(LossRule),
}
_RANGES: dict[str, Any] = {
    "alpha": (-math.inf, 1.0),
    "gamma": (0.0, _constants.MAX_GAMMA),
    "eps": (_constants.MIN_IOU_EPS, _constants.MAX_IOU_EPS),
    "iou_threshold": (0.0, 1.0),
    "candidates_per_level": (0,),
    "max_detections": (0, 2**31 - 1),
    "max_detections_per_class": (0,),
}

_IMPROVED = AssignmentRule(
    location_offset=0.5,
    center_radius=1.5,
    center_region="clipped",
    range_inclusive=True,
    area_rule="exact",
    max_area=1e8,
    normalize_ltrb=True,
    derived_strides=False,
    ranges=_INCLUSIVE_RANGES,
)
_PAPER = _IMPROVED._replace(center_radius=0.0, normalize_ltrb=False)
_DETECTRON2 = _IMPROVED._replace(
    center_region="chebyshev",
    range_inclusive=False,
    area_rule="float32_complement",
    ranges=_STRICT_RANGES,
)

ASSIGNMENT_RULES: dict[str, AssignmentRule] = {
    "paper": _PAPER,
    "improved": _IMPROVED,
    "torchvision": _DETECTRON2._replace(location_offset=0.0, derived_strides=True),
    "detectron2": _DETECTRON2,
    "mmdet": _PAPER,
}

_PAPER_POST = PostprocessRule(
    threshold_on="class",
    rank_by="score",
    score="sqrt",
    score_threshold=0.05,
    candidates_per_level=1000,
    iou_threshold=0.6,
    max_detections=100,
    clip="before_nms",
    drop_empty=False,
)

POSTPROCESS_RULES: dict[str, PostprocessRule] = {
    "paper": _PAPER_POST,
    "improved": _PAPER_POST._replace(drop_empty=True),
    "torchvision": _PAPER_POST._replace(threshold_on="score", score_threshold=0.2),
    "detectron2": _PAPER_POST._replace(
        threshold_on="score", score_threshold=0.2, clip="after_nms", drop_empty=True
    ),
    "mmdet": _PAPER_POST._replace(
        rank_by="class", score="product", iou_threshold=0.5, drop_empty=True
    ),
}


LOSS_RULES: dict[str, LossRule] = {
    "paper": LossRule(box_loss="iou"),
    "improved": LossRule(),
    "torchvision": LossRule(box_weight="uniform"),
    "detectron2": LossRule(box_weight="uniform"),
    "mmdet": LossRule(box_loss="iou"),
}
"""detectron2 also divides by a moving average of the positives: see `fcos_loss`'s `normalize`."""


def resolve_assignment_rule(rule: str | AssignmentRule) -> AssignmentRule:
    """The rule of that preset name, or the rule itself once its fields are checked; errors as of
    `_resolve`. `ranges` is left to `pyramid_levels`, which alone reads it."""
    return _resolve("rule", rule, AssignmentRule, ASSIGNMENT_RULES)


def resolve_postprocess_rule(rule: str | PostprocessRule) -> PostprocessRule:
    """The rule of that preset name, or the rule itself once its fields are checked; errors as of
    `_resolve`."""
    return _resolve("rule", rule, PostprocessRule, POSTPROCESS_RULES)


def resolve_loss_rule(loss: str | LossRule | None, rule: str | AssignmentRule) -> LossRule:
    """The rule of that preset name, or the rule itself once its fields are checked; errors as of
    `_resolve`. None: that of the name of the assignment rule, `improved` where that is no name."""
    if loss is None:
        loss = rule if isinstance(rule, str) else "improved"
    return _resolve("loss", loss, LossRule, LOSS_RULES)


def _resolve(argument: str, rule: Any, kind: type[_Rule], presets: dict[str, _Rule]) -> _Rule:
    """The rule of that preset name, or the rule itself once its switches are checked, its numbers
    as plain ones.

    Raises ValueError (unknown name or value, with the allowed ones) or TypeError (neither name nor
    rule, or a field of another type).
    """
    if isinstance(rule, str):
        if rule in presets:
            return presets[rule]
        names = ", ".join(presets)
        raise ValueError(f"{argument} must be the name of a preset, one of {names}, got {rule!r}")
    if isinstance(rule, kind):
        return _checked(rule)
    article = "an" if kind is AssignmentRule else "a"
    raise TypeError(
        f"{argument} must be a preset name or {article} {kind.__name__}, "
        f"got {_checks.describe(rule)}"
    )


@cached_by_identity
def _checked(rule: _Rule) -> _Rule:
    argument = "loss" if isinstance(rule, LossRule) else "rule"
    numbers: dict[str, Any] = {}
    for field, value in zip(rule._fields, rule, strict=True):
        name, type_ = f"{argument}.{field}", _TYPES.get(field)
        if type_ == "str":
            _checks.choice(name, value, _constants.WORDS[field])
        elif type_ == "bool":
            _checks.boolean(name, value)
        elif type_ == "float":
            numbers[field] = _checks.number(name, value, *_RANGES.get(field, ()))
        elif type_ == "int" or (type_ == "int?" and value is not None):
            numbers[field] = _checks.integer(name, value, *_RANGES[field])
    return rule._replace(**numbers)


def resolve_head_convention(
    rule: str | PostprocessRule, normalized: bool | None, location_offset: float | None
) -> tuple[bool, float]:
    """(normalized, location_offset) of the head outputs that post-processing decodes.

    What is None comes from the assignment preset of the same name, from `improved` where rule is no
    name: so `rule="torchvision"` alone decodes what `assign_targets(..., rule="torchvision")`
    trained.
    """
    trained = ASSIGNMENT_RULES["improved"]
    if isinstance(rule, str):
        trained = resolve_assignment_rule(rule)
    if normalized is None:
        normalized = trained.normalize_ltrb
    if location_offset is None:
        location_offset = trained.location_offset
    _checks.boolean("normalized", normalized)
    return normalized, _checks.number("location_offset", location_offset)
