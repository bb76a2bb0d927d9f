"""mmdetection's FCOS, its base configuration and the one with "all tricks", which its files tell
apart by the config that they hold, else by the biases of their towers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fcos_ops import ASSIGNMENT_RULES, LOSS_RULES, POSTPROCESS_RULES, PostprocessRule

from ..errors import UserError, brief
from ..models.variant import VARIANTS
from .architecture import Architecture, architecture
from .coco_classes import COCO_CATEGORIES
from .conversion import (
    Categories,
    Converted,
    Source,
    contiguous_categories,
    finished,
    with_levels,
)
from .mmdetection_config import choice, number, read_config, setting
from .mmdetection_images import read_preprocessing
from .renaming import RESNET, Rules, rename


def _rules() -> Rules:
    rules = [
        (r"backbone\." + RESNET, r"backbone.body.\1"),
        (r"neck\.lateral_convs\.([0-2])\.conv\.(\w+)", r"backbone.fpn.inner_blocks.\1.0.\2"),
        (r"neck\.fpn_convs\.([0-2])\.conv\.(\w+)", r"backbone.fpn.layer_blocks.\1.0.\2"),
        (r"neck\.fpn_convs\.3\.conv\.(\w+)", r"backbone.fpn.extra_blocks.p6.\1"),
        (r"neck\.fpn_convs\.4\.conv\.(\w+)", r"backbone.fpn.extra_blocks.p7.\1"),
        (r"bbox_head\.scales\.(\d)\.scale", r"head.regression_head.scales.\1.scale"),
    ]
    for theirs, ours in {"cls": "classification", "reg": "regression"}.items():
        tower, layer = rf"bbox_head\.{theirs}_convs\.", f"head.{ours}_head.conv."
        for index in range(8):
            rules += [
                (rf"{tower}{index}\.conv\.(weight|bias)", rf"{layer}{3 * index}.\1"),
                (rf"{tower}{index}\.gn\.(\w+)", rf"{layer}{3 * index + 1}.\1"),
            ]
    # the names of the outputs began with fcos_ before version 2.0
    return (
        *rules,
        (r"bbox_head\.(?:conv|fcos)_cls\.(\w+)", r"head.classification_head.cls_logits.\1"),
        (r"bbox_head\.(?:conv|fcos)_reg\.(\w+)", r"head.regression_head.bbox_reg.\1"),
        (r"bbox_head\.(?:conv|fcos)_centerness\.(\w+)", r"head.regression_head.bbox_ctrness.\1"),
    )


_RULES = _rules()
_LOSSES = {"IoULoss": "iou", "GIoULoss": "giou", "DIoULoss": "diou", "CIoULoss": "ciou"}


class _Tricks(NamedTuple):
    """Arguments of its FCOSHead that leave the weights as they are."""

    norm_on_bbox: bool
    centerness_on_reg: bool
    center_sampling: bool


def convert(source: Source) -> Converted:
    """See `layouts.convert`."""
    notes: list[str] = []
    state = rename(source.state, _RULES)
    # a Scale is 0-dimensional there
    state = {k: v[None] if v.dim() == 0 and k.endswith(".scale") else v for k, v in state.items()}
    found = architecture(state)
    meta = source.meta.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    config = read_config(meta)
    if config is None:
        notes.append("the file holds no config that can be read: what follows is assumed")
        config = {}
    else:
        _check(config, found)
    tricks = _tricks(source.preset, config, found, notes)
    preset = "improved" if tricks.norm_on_bbox else "mmdet"
    assignment = with_levels(ASSIGNMENT_RULES["improved"], found.num_levels)
    radius = number(config, "model.bbox_head.center_sample_radius", 1.5, 0, 1e4)
    return finished(
        state,
        found._replace(norm=_norm(config, notes)),
        _categories(found.num_classes, _names(meta), source.categories, notes),
        "mmdet",
        notes,
        norm_eps=number(config, "model.backbone.norm_cfg.eps", 1e-5, 1e-12, 0.1),
        freeze_at=_freeze_at(config),
        stride_in_1x1=_stride_in_1x1(config, found, notes),
        variant=VARIANTS["mmdet"]._replace(
            activation=VARIANTS[preset].activation,
            centerness_tower="regression" if tricks.centerness_on_reg else "classification",
            conv_bias=found.conv_bias,
        ),
        assignment=assignment._replace(
            normalize_ltrb=tricks.norm_on_bbox,
            center_radius=radius if tricks.center_sampling else 0.0,
        ),
        loss=LOSS_RULES[preset]._replace(box_loss=_box_loss(config, preset, notes)),
        postprocess=_postprocess(config, preset),
        preprocessing=read_preprocessing(config, found, preset, notes),
    )


def _check(config: Mapping[str, Any], found: Architecture) -> None:
    """UserError where a setting that leaves no trace in the weights is not implemented here."""
    strides = [8, 16, 32, 64, 128][: found.num_levels]
    choice(config, "model.type", ("FCOS",), None)
    choice(config, "model.backbone.type", ("ResNet", "ResNeXt"), None)
    choice(config, "model.neck.type", ("FPN",), None)
    choice(config, "model.neck.start_level", (1,), 0)
    choice(config, "model.neck.relu_before_extra_convs", (True,), found.num_levels == 3)
    choice(config, "model.neck.add_extra_convs", ("on_output", "on_input", True, False), False)
    choice(config, "model.bbox_head.type", ("FCOSHead",), None)
    choice(config, "model.bbox_head.strides", (strides,), [4, 8, 16, 32, 64])
    choice(config, "model.bbox_head.loss_cls.use_sigmoid", (True,), True)
    ranges = setting(config, "model.bbox_head.regress_ranges")
    usual = with_levels(ASSIGNMENT_RULES["mmdet"], found.num_levels).ranges
    if ranges is not None and _floats(ranges) != [list(pair) for pair in usual]:
        raise UserError(f"model.bbox_head.regress_ranges must be {usual}, got {brief(ranges)}")


def _floats(ranges: Any) -> Any:
    try:
        return [[float(bound) for bound in pair] for pair in ranges]
    except (TypeError, ValueError, OverflowError):
        return ranges


def _tricks(
    preset: str | None, config: Mapping[str, Any], found: Architecture, notes: list[str]
) -> _Tricks:
    if preset is None and config:
        paths = [f"model.bbox_head.{name}" for name in _Tricks._fields]
        return _Tricks(*(choice(config, path, (True, False), False) for path in paths))
    if preset is None:
        preset = "improved" if found.conv_bias and found.head_norm == "gn" else "mmdet"
        biases = "have" if found.conv_bias else "have no"
        notes.append(f"the preset is taken to be {preset}: the towers {biases} biases")
    return _Tricks(*[preset == "improved"] * 3)


def _norm(config: Mapping[str, Any], notes: list[str]) -> str:
    if not config:
        notes.append("the batch norms of the backbone are taken to be frozen")
    return "frozen_bn" if choice(config, "model.backbone.norm_eval", (True, False), True) else "bn"


def _freeze_at(config: Mapping[str, Any]) -> int:
    """Where a stage counts as 1, its stem is frozen, too; -1 freezes nothing."""
    usual = -1 if config else 1  # as published
    return 1 + int(number(config, "model.backbone.frozen_stages", usual, -1, 4))


def _stride_in_1x1(config: Mapping[str, Any], found: Architecture, notes: list[str]) -> bool:
    if config:
        style = choice(config, "model.backbone.style", ("caffe", "pytorch"), "pytorch")
        return style == "caffe" and found.has_bottlenecks
    style = "caffe" if found.is_bottleneck_resnet else "pytorch"
    notes.append(f"the style of the backbone is taken to be {style}, as published first")
    return found.is_bottleneck_resnet


def _box_loss(config: Mapping[str, Any], preset: str, notes: list[str]) -> str:
    name = setting(config, "model.bbox_head.loss_bbox.type")
    usual = LOSS_RULES[preset].box_loss
    if isinstance(name, str) and name not in _LOSSES:
        notes.append(f"training here goes on with {usual}: {brief(name)} is not implemented")
    return _LOSSES.get(name, usual) if isinstance(name, str) else usual


def _postprocess(config: Mapping[str, Any], preset: str) -> PostprocessRule:
    rule = POSTPROCESS_RULES["mmdet"]
    if preset == "improved":
        rule = rule._replace(iou_threshold=0.6)
    if not config:
        return rule
    # version 2 had it beside the model at first, where version 3 has a loop's settings
    where = "model.test_cfg" if setting(config, "model.test_cfg.nms") else "test_cfg"
    if setting(config, where + ".nms") is None:
        raise UserError("model.test_cfg of the config must hold nms, got none")
    choice(config, where + ".nms.type", ("nms",), "nms")
    key = ".nms.iou_thr" if setting(config, where + ".nms.iou_thr") else ".nms.iou_threshold"
    smallest = choice(config, where + ".min_bbox_size", (-1, 0), -1)
    return rule._replace(
        score_threshold=float(number(config, where + ".score_thr", 0.0, 0, 1)),
        iou_threshold=float(number(config, where + key, rule.iou_threshold, 0, 1)),
        candidates_per_level=int(number(config, where + ".nms_pre", 0, 1, 1e6)),
        max_detections=int(number(config, where + ".max_per_img", 0, 1, 1e6)),
        drop_empty=smallest == 0,
    )


def _categories(
    count: int, names: list[str] | None, given: Categories | None, notes: list[str]
) -> list[tuple[int, str]]:
    """mmdetection numbers the categories that it has names for in the order of the annotation
    file, whatever the order of the names."""
    if names is not None and len(names) != count:
        notes.append(f"the file's {len(names)} class names are left out: it has {count} classes")
        names = None
    if given is not None or names is None:
        if given is not None and names is not None:
            given = [(number, name) for number, name in given if name in names]
        return contiguous_categories(count, given, notes)
    if names == [name for _, name in COCO_CATEGORIES]:
        return list(COCO_CATEGORIES)
    notes.append(f"the category ids are taken to be 1 to {count}: the file has names only")
    return list(enumerate(names, 1))


def _names(meta: Mapping[str, Any]) -> list[str] | None:
    """The class names, which version 1 wrote with underscores."""
    of_data = meta.get("dataset_meta")
    names = meta.get("CLASSES")
    if isinstance(of_data, dict):
        names = of_data.get("classes", of_data.get("CLASSES", names))
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return None
    readable = [name.replace("_", " ") for name in names]
    return readable if readable == [name for _, name in COCO_CATEGORIES] else list(names)
