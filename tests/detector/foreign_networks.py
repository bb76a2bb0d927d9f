"""FCOS as other programs store and compute it, stated from their sources without our package: the
names in a file, and the network straight from them, in float64.

A ResNet-50 with thin stages, a pyramid of `WIDTH` channels and towers of two convolutions.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCKS = (3, 4, 6, 3)
STEM = 8
WIDTH = 128  # the fewest channels that 32 groups of 4 fill
DEPTH = 2
STRIDES = (8, 16, 32, 64, 128)
PARTS = ("weight", "bias", "running_mean", "running_var")


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


class Rules(NamedTuple):
    """What a program computes from the weights, and how it makes detections of that."""

    eps: float
    stride_in_1x1: bool
    activation: str
    normalized: bool
    centerness_on: str
    offset: float
    threshold: float
    threshold_on: str
    product: bool = False
    iou: float = 0.6
    clip_first: bool = True
    drop_empty: bool = True
    last_pixel: float = 0.0
    groups: int = 32


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


def random_file(names: Names, **kind: Any) -> dict[str, Tensor]:
    """float64 weights under a program's names, always the same; see `_random_file`."""
    return dict(_random_file(names, **kind))


@functools.cache
def _random_file(
    names: Names,
    *,
    classes: int = 3,
    levels: int = 5,
    bias: bool = True,
    p6_from_c5: bool = False,
    head_norm: str = "gn",
    scale_shape: tuple[int, ...] = (1,),
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}

    def conv(name: str, outputs: int, inputs: int, kernel: int) -> None:
        shape = (outputs, inputs, kernel, kernel)
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        state[name] = values * (2 / (inputs * kernel**2)) ** 0.5

    def vector(name: str, shape: tuple[int, ...], low: float, high: float) -> None:
        values = torch.rand(shape, generator=generator, dtype=torch.float64)
        state[name] = values * (high - low) + low

    def norm(template: str, channels: int, parts: Sequence[str] = PARTS, **where: int) -> None:
        for part in parts:
            low, high = (0.5, 1.5) if part in ("weight", "running_var") else (-0.2, 0.2)
            vector(template.format(part=part, **where), (channels,), low, high)

    def biased(
        template: str, outputs: int, inputs: int, kernel: int, size: float = 1.0, **where: int
    ) -> None:
        weight = template.format(part="weight", **where)
        conv(weight, outputs, inputs, kernel)
        state[weight] *= size
        vector(template.format(part="bias", **where), (outputs,), -0.2, 0.2)

    conv(names.stem, STEM, 3, 7)
    norm(names.stem_norm, STEM)
    inputs = STEM
    for stage, blocks in enumerate(BLOCKS):
        planes = STEM << stage
        for block in range(blocks):
            at = {"stage": stage + names.first_stage, "block": block}
            for index, (outputs, source, kernel) in enumerate(
                ((planes, inputs, 1), (planes, planes, 3), (4 * planes, planes, 1)), 1
            ):
                conv(names.conv.format(index=index, **at), outputs, source, kernel)
                norm(names.norm, outputs, index=index, **at)
            if block == 0:
                conv(names.shortcut.format(**at), 4 * planes, inputs, 1)
                norm(names.shortcut_norm, 4 * planes, **at)
            inputs = 4 * planes
    for level in range(3):
        at = {"level": level + names.first_level}
        biased(names.lateral, WIDTH, STEM * 8 << level, 1, **at)
        biased(names.output, WIDTH, WIDTH, 3, **at)
    if levels == 5:
        biased(names.p6, WIDTH, STEM * 32 if p6_from_c5 else WIDTH, 3)
        biased(names.p7, WIDTH, WIDTH, 3)
    for conv_name, norm_name in (
        (names.cls_conv, names.cls_norm),
        (names.box_conv, names.box_norm),
    ):
        for layer in range(DEPTH):
            number = names.tower_step * layer
            conv(conv_name.format(part="weight", number=number, layer=layer), WIDTH, WIDTH, 3)
            if bias:
                name = conv_name.format(part="bias", number=number, layer=layer)
                vector(name, (WIDTH,), -0.2, 0.2)
            at = {"number": number + 1, "layer": layer}
            if head_norm == "gn":
                norm(norm_name, WIDTH, PARTS[:2], **at)
            if head_norm == "bn":
                for level in range(levels):
                    of_level = norm_name.replace("{part}", f"{level}.{{part}}")
                    norm(of_level, WIDTH, **at)
                    state[of_level.format(part="num_batches_tracked", **at)] = torch.tensor(7)
    # group norm alone brings the values of the pyramid, ten thousands, back to one
    size = 1.0 if head_norm == "gn" else 1e-4
    biased(names.logits, classes, WIDTH, 3, size)
    biased(names.boxes, 4, WIDTH, 3, size)
    biased(names.centerness, 1, WIDTH, 3, size)
    for level in range(levels if names.scale else 0):
        assert names.scale is not None
        vector(names.scale.format(level=level), scale_shape, 0.7, 1.4)
    return state


class Maps(NamedTuple):
    """Of each level: class logits [C, H, W], distances in pixels [4, H, W], centerness [H, W]."""

    logits: list[Tensor]
    ltrb: list[Tensor]
    centerness: list[Tensor]


def maps(
    state: dict[str, Tensor], names: Names, rules: Rules, image: Tensor, p6_from_c5: bool = False
) -> Maps:
    """The network's maps of one image [3, H, W]."""

    def weight_and_bias(template: str, **where: int) -> tuple[Tensor, Tensor | None]:
        weight = template.format(part="weight", **where)
        return state[weight], state.get(template.format(part="bias", **where))

    def batch_norm(x: Tensor, template: str, **where: int) -> Tensor:
        weight, bias, mean, var = (
            state[template.format(part=part, **where)].view(1, -1, 1, 1) for part in PARTS
        )
        return (x - mean) / (var + rules.eps).sqrt() * weight + bias

    def tower(x: Tensor, level: int, conv_name: str, norm_name: str) -> Tensor:
        for layer in range(DEPTH):
            number = names.tower_step * layer
            weight, bias = weight_and_bias(conv_name, number=number, layer=layer)
            x = F.conv2d(x, weight, bias, padding=1)
            at = {"number": number + 1, "layer": layer}
            of_level = norm_name.replace("{part}", f"{level}.{{part}}")
            if of_level.format(part="running_var", **at) in state:
                x = batch_norm(x, of_level, **at)
            elif names.tower_step == 3:
                x = F.group_norm(x, rules.groups, *weight_and_bias(norm_name, **at), eps=1e-5)
            x = x.relu()
        return x

    x = F.conv2d(image[None].double(), state[names.stem], stride=2, padding=3)
    x = F.max_pool2d(batch_norm(x, names.stem_norm).relu(), 3, stride=2, padding=1)
    stages = []
    for stage, blocks in enumerate(BLOCKS):
        for block in range(blocks):
            at = {"stage": stage + names.first_stage, "block": block}
            stride = 2 if stage and block == 0 else 1
            first, second = (stride, 1) if rules.stride_in_1x1 else (1, stride)
            y = F.conv2d(x, state[names.conv.format(index=1, **at)], stride=first)
            y = batch_norm(y, names.norm, index=1, **at).relu()
            y = F.conv2d(y, state[names.conv.format(index=2, **at)], stride=second, padding=1)
            y = batch_norm(y, names.norm, index=2, **at).relu()
            y = F.conv2d(y, state[names.conv.format(index=3, **at)])
            y = batch_norm(y, names.norm, index=3, **at)
            if block == 0:
                x = F.conv2d(x, state[names.shortcut.format(**at)], stride=stride)
                x = batch_norm(x, names.shortcut_norm, **at)
            x = (x + y).relu()
        stages.append(x)
    laterals = [
        F.conv2d(
            stages[level + 1], *weight_and_bias(names.lateral, level=level + names.first_level)
        )
        for level in range(3)
    ]
    for level in (1, 0):
        doubled = laterals[level + 1].repeat_interleave(2, 2).repeat_interleave(2, 3)
        laterals[level] = laterals[level] + doubled
    pyramid = [
        F.conv2d(x, *weight_and_bias(names.output, level=level + names.first_level), padding=1)
        for level, x in enumerate(laterals)
    ]
    if names.p6.format(part="weight") in state:
        source = stages[-1] if p6_from_c5 else pyramid[-1]
        p6 = F.conv2d(source, *weight_and_bias(names.p6), stride=2, padding=1)
        p7 = F.conv2d(p6.relu(), *weight_and_bias(names.p7), stride=2, padding=1)
        pyramid += [p6, p7]
    found = Maps([], [], [])
    for level, feature in enumerate(pyramid):
        of_class = tower(feature, level, names.cls_conv, names.cls_norm)
        of_box = tower(feature, level, names.box_conv, names.box_norm)
        raw = F.conv2d(of_box, *weight_and_bias(names.boxes), padding=1)[0]
        if names.scale is not None:
            raw = raw * state[names.scale.format(level=level)]
        distance = raw.exp() if rules.activation == "exp" else raw.relu()
        if rules.normalized:
            distance = distance * STRIDES[level]
        center = of_class if rules.centerness_on == "classification" else of_box
        found.logits.append(F.conv2d(of_class, *weight_and_bias(names.logits), padding=1)[0])
        found.ltrb.append(distance)
        found.centerness.append(
            F.conv2d(center, *weight_and_bias(names.centerness), padding=1)[0, 0]
        )
    return found


class Found(NamedTuple):
    score: float
    label: int
    box: tuple[float, float, float, float]


def detections(found: Maps, rules: Rules, image: Tensor) -> list[Found]:
    """At most 100 of one image, best first. No level here has 1000 candidates.

    torchvision's locations, which lie on corners, are its feature's share of the image apart.
    """
    height, width = image.shape[1:]
    last = rules.last_pixel
    candidates = []
    for level, logits in enumerate(found.logits):
        rows, columns = logits.shape[1:]
        strides = (STRIDES[level],) * 2
        if rules.offset == 0:
            strides = (height // rows, width // columns)
        for channel, row, column in torch.cartesian_prod(
            *(torch.arange(size) for size in logits.shape)
        ).tolist():
            of_class = logits[channel, row, column].sigmoid()
            joint = of_class * found.centerness[level][row, column].sigmoid()
            score = (joint if rules.product else joint.sqrt()).item()
            if (of_class.item() if rules.threshold_on == "class" else score) <= rules.threshold:
                continue
            x, y = (column + rules.offset) * strides[1], (row + rules.offset) * strides[0]
            left, top, right, bottom = found.ltrb[level][:, row, column].tolist()
            box = (x - left, y - top, x + right, y + bottom)
            if rules.clip_first:
                box = _clipped(box, width - last, height - last)
            candidates.append(Found(score, channel, box))
    candidates.sort(key=lambda one: -one.score)
    if rules.clip_first and rules.drop_empty:
        candidates = [one for one in candidates if _area(one.box, 0.0) > 0]
    kept: list[Found] = []
    for one in candidates:
        if len(kept) < 100 and not any(
            one.label == other.label and _iou(one.box, other.box, last) > rules.iou
            for other in kept
        ):
            kept.append(one)
    if not rules.clip_first:
        kept = [one._replace(box=_clipped(one.box, width, height)) for one in kept]
        kept = [one for one in kept if _area(one.box, 0.0) > 0]
    ends = [(one, one.box[2] + last, one.box[3] + last) for one in kept]
    return [one._replace(box=(*one.box[:2], right, bottom)) for one, right, bottom in ends]


Box = tuple[float, float, float, float]


def _clipped(box: Box, right: float, bottom: float) -> Box:
    x1, x2 = (min(max(x, 0.0), right) for x in box[::2])
    y1, y2 = (min(max(y, 0.0), bottom) for y in box[1::2])
    return x1, y1, x2, y2


def _area(box: Box, last: float) -> float:
    return max(box[2] - box[0] + last, 0.0) * max(box[3] - box[1] + last, 0.0)


def _iou(a: Box, b: Box, last: float) -> float:
    both = (max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    shared = _area(both, last)
    total = _area(a, last) + _area(b, last) - shared
    return shared / total if total > 0 else 0.0
