"""detectron2's own FCOS, and the names of its backbones and pyramids."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError, brief
from ..preprocessing import Preprocessing
from .architecture import architecture
from .colours import BGR_STD, CAFFE2_IMAGES
from .conversion import (
    Converted,
    Source,
    contiguous_categories,
    finished,
)
from .renaming import Rules, rename


def resnet_rules(theirs: str, ours: str) -> Rules:
    """For a ResNet under its names below one prefix, a pattern, to ours below the other."""
    rules = [
        (theirs + r"stem\.conv1\.weight", ours + "conv1.weight"),
        (theirs + r"stem\.conv1\.norm\.(\w+)", ours + r"bn1.\1"),
    ]
    for stage in range(1, 5):
        block, layer = theirs + rf"res{stage + 1}\.(\d+)\.", ours + rf"layer{stage}.\1."
        rules += [
            (block + r"conv(\d)\.weight", layer + r"conv\2.weight"),
            (block + r"conv(\d)\.norm\.(\w+)", layer + r"bn\2.\3"),
            (block + r"shortcut\.weight", layer + "downsample.0.weight"),
            (block + r"shortcut\.norm\.(\w+)", layer + r"downsample.1.\2"),
        ]
    return rules


_FPN = tuple(
    (rf"backbone\.fpn_{theirs}{level + 3}\.(\w+)", rf"backbone.fpn.{ours}_blocks.{level}.0.\1")
    for theirs, ours in (("lateral", "inner"), ("output", "layer"))
    for level in range(3)
)
BACKBONE_RULES = (
    *resnet_rules(r"backbone\.bottom_up\.", "backbone.body."),
    *_FPN,
    (r"backbone\.top_block\.(p[67]\.\w+)", r"backbone.fpn.extra_blocks.\1"),
)
IGNORED = (r"pixel_mean", r"pixel_std", r".*anchor_generator\.cell_anchors\.\d+")
_HEAD = (
    (r"head\.cls_subnet\.((?:\d+\.)+\w+)", r"head.classification_head.conv.\1"),
    (r"head\.bbox_subnet\.((?:\d+\.)+\w+)", r"head.regression_head.conv.\1"),
    (r"head\.cls_score\.(\w+)", r"head.classification_head.cls_logits.\1"),
    (r"head\.bbox_pred\.(\w+)", r"head.regression_head.bbox_reg.\1"),
    (r"head\.ctrness\.(\w+)", r"head.regression_head.bbox_ctrness.\1"),
)


def convert(source: Source) -> Converted:
    """See `layouts.convert`."""
    notes: list[str] = []
    state = rename(source.state, (*BACKBONE_RULES, *_HEAD), IGNORED)
    found = architecture(state)
    # the moving average of the positives is not in its files: it starts again, as in a new run
    state["loss_normalizer"] = torch.tensor(300.0)
    return finished(
        state,
        found,
        by_id(found.num_classes, source, notes),
        "detectron2",
        notes,
        stride_in_1x1=found.is_bottleneck_resnet,
        preprocessing=images(source.state, found.backbone, notes),
    )


def by_id(count: int, source: Source, notes: list[str]) -> list[tuple[int, str]]:
    """The categories of the channels: detectron2 sorts an annotation file's by their ids."""
    given = None if source.categories is None else sorted(source.categories)
    return contiguous_categories(count, given, notes)


def images(state: Mapping[str, Tensor], backbone: str, notes: list[str]) -> Preprocessing:
    """Mean and deviation are buffers, which files of early versions hold."""
    if "pixel_mean" in state and "pixel_std" in state:
        mean, std = _colour(state, "pixel_mean"), _colour(state, "pixel_std")
        return CAFFE2_IMAGES._replace(mean=mean, std=std)
    x101 = backbone == "resnext101_32x8d"
    found = CAFFE2_IMAGES._replace(std=BGR_STD) if x101 else CAFFE2_IMAGES
    notes.append(
        f"the input is taken to be BGR with mean {list(found.mean)} and deviation "
        f"{list(found.std)}, as published with {backbone}: the file does not say"
    )
    return found


def _colour(state: Mapping[str, Tensor], name: str) -> tuple[Any, ...]:
    plain = state[name].numel() == 3 and not state[name].is_complex()
    values = state[name].flatten().tolist() if plain else []
    if not values or not all(math.isfinite(value) for value in values):
        raise UserError(f"{name} must hold three numbers, got {brief(state[name].tolist())}")
    # float32 holds 103.53 as 103.52999877929688
    return tuple(float(f"{value:.7g}") for value in values)
