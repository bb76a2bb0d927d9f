"""How other programs call the weights of an FCOS in their files, stated from their sources."""

from __future__ import annotations

from typing import NamedTuple


class Names(NamedTuple):
    """How a program calls its tensors; stages, levels and numbers in braces count from its own."""

    stem: str
    stem_norm: str
    conv: str
    norm: str
    shortcut: str
    shortcut_norm: str
    lateral: str
    output: str
    p6: str
    p7: str
    cls_conv: str
    cls_norm: str
    box_conv: str
    box_norm: str
    logits: str
    boxes: str
    centerness: str
    scale: str | None
    first_stage: int = 1
    first_level: int = 0
    tower_step: int = 3


TORCHVISION = Names(
    stem="backbone.body.conv1.weight",
    stem_norm="backbone.body.bn1.{part}",
    conv="backbone.body.layer{stage}.{block}.conv{index}.weight",
    norm="backbone.body.layer{stage}.{block}.bn{index}.{part}",
    shortcut="backbone.body.layer{stage}.{block}.downsample.0.weight",
    shortcut_norm="backbone.body.layer{stage}.{block}.downsample.1.{part}",
    lateral="backbone.fpn.inner_blocks.{level}.0.{part}",
    output="backbone.fpn.layer_blocks.{level}.0.{part}",
    p6="backbone.fpn.extra_blocks.p6.{part}",
    p7="backbone.fpn.extra_blocks.p7.{part}",
    cls_conv="head.classification_head.conv.{number}.{part}",
    cls_norm="head.classification_head.conv.{number}.{part}",
    box_conv="head.regression_head.conv.{number}.{part}",
    box_norm="head.regression_head.conv.{number}.{part}",
    logits="head.classification_head.cls_logits.{part}",
    boxes="head.regression_head.bbox_reg.{part}",
    centerness="head.regression_head.bbox_ctrness.{part}",
    scale=None,
)
TORCHVISION_BEFORE_0_13 = TORCHVISION._replace(
    lateral="backbone.fpn.inner_blocks.{level}.{part}",
    output="backbone.fpn.layer_blocks.{level}.{part}",
)
FCOS_CORE = TORCHVISION._replace(
    stem="backbone.body.stem.conv1.weight",
    stem_norm="backbone.body.stem.bn1.{part}",
    lateral="backbone.fpn.fpn_inner{level}.{part}",
    output="backbone.fpn.fpn_layer{level}.{part}",
    p6="backbone.fpn.top_blocks.p6.{part}",
    p7="backbone.fpn.top_blocks.p7.{part}",
    cls_conv="rpn.head.cls_tower.{number}.{part}",
    cls_norm="rpn.head.cls_tower.{number}.{part}",
    box_conv="rpn.head.bbox_tower.{number}.{part}",
    box_norm="rpn.head.bbox_tower.{number}.{part}",
    logits="rpn.head.cls_logits.{part}",
    boxes="rpn.head.bbox_pred.{part}",
    centerness="rpn.head.centerness.{part}",
    scale="rpn.head.scales.{level}.scale",
    first_level=2,
)
DETECTRON2 = Names(
    stem="backbone.bottom_up.stem.conv1.weight",
    stem_norm="backbone.bottom_up.stem.conv1.norm.{part}",
    conv="backbone.bottom_up.res{stage}.{block}.conv{index}.weight",
    norm="backbone.bottom_up.res{stage}.{block}.conv{index}.norm.{part}",
    shortcut="backbone.bottom_up.res{stage}.{block}.shortcut.weight",
    shortcut_norm="backbone.bottom_up.res{stage}.{block}.shortcut.norm.{part}",
    lateral="backbone.fpn_lateral{level}.{part}",
    output="backbone.fpn_output{level}.{part}",
    p6="backbone.top_block.p6.{part}",
    p7="backbone.top_block.p7.{part}",
    cls_conv="head.cls_subnet.{number}.{part}",
    cls_norm="head.cls_subnet.{number}.{part}",
    box_conv="head.bbox_subnet.{number}.{part}",
    box_norm="head.bbox_subnet.{number}.{part}",
    logits="head.cls_score.{part}",
    boxes="head.bbox_pred.{part}",
    centerness="head.ctrness.{part}",
    scale=None,
    first_stage=2,
    first_level=3,
)
_HEAD = "proposal_generator.fcos_head."
ADELAIDET = DETECTRON2._replace(
    cls_conv=_HEAD + "cls_tower.{number}.{part}",
    cls_norm=_HEAD + "cls_tower.{number}.{part}",
    box_conv=_HEAD + "bbox_tower.{number}.{part}",
    box_norm=_HEAD + "bbox_tower.{number}.{part}",
    logits=_HEAD + "cls_logits.{part}",
    boxes=_HEAD + "bbox_pred.{part}",
    centerness=_HEAD + "ctrness.{part}",
    scale=_HEAD + "scales.{level}.scale",
)
MMDETECTION = Names(
    stem="backbone.conv1.weight",
    stem_norm="backbone.bn1.{part}",
    conv="backbone.layer{stage}.{block}.conv{index}.weight",
    norm="backbone.layer{stage}.{block}.bn{index}.{part}",
    shortcut="backbone.layer{stage}.{block}.downsample.0.weight",
    shortcut_norm="backbone.layer{stage}.{block}.downsample.1.{part}",
    lateral="neck.lateral_convs.{level}.conv.{part}",
    output="neck.fpn_convs.{level}.conv.{part}",
    p6="neck.fpn_convs.3.conv.{part}",
    p7="neck.fpn_convs.4.conv.{part}",
    cls_conv="bbox_head.cls_convs.{layer}.conv.{part}",
    cls_norm="bbox_head.cls_convs.{layer}.gn.{part}",
    box_conv="bbox_head.reg_convs.{layer}.conv.{part}",
    box_norm="bbox_head.reg_convs.{layer}.gn.{part}",
    logits="bbox_head.conv_cls.{part}",
    boxes="bbox_head.conv_reg.{part}",
    centerness="bbox_head.conv_centerness.{part}",
    scale="bbox_head.scales.{level}.scale",
)
