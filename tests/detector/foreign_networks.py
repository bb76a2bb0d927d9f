"""What other programs compute from the weights of `foreign_files`, and the detections that they
make of it: stated from their sources without our package, in float64."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .foreign_files import BLOCKS, DEPTH, PARTS
from .foreign_names import Names

STRIDES = (8, 16, 32, 64, 128)


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


class Maps(NamedTuple):
    """Of each level: class logits [C, H, W], distances in pixels [4, H, W], centerness [H, W]."""

    logits: list[Tensor]
    ltrb: list[Tensor]
    centerness: list[Tensor]


def maps(
    state: dict[str, Tensor], names: Names, rules: Rules, image: Tensor, p6_from_c5: bool = False
) -> Maps:
    """The network's maps of one image [3, H, W]."""
    network = _Network(state, names, rules)
    found = Maps([], [], [])
    for level, feature in enumerate(network.pyramid(network.stages(image), p6_from_c5)):
        of_class = network.tower(feature, level, names.cls_conv, names.cls_norm)
        of_box = network.tower(feature, level, names.box_conv, names.box_norm)
        raw = network.conv(of_box, names.boxes, padding=1)[0]
        if names.scale is not None:
            raw = raw * state[names.scale.format(level=level)]
        distance = raw.exp() if rules.activation == "exp" else raw.relu()
        if rules.normalized:
            distance = distance * STRIDES[level]
        center = of_class if rules.centerness_on == "classification" else of_box
        found.logits.append(network.conv(of_class, names.logits, padding=1)[0])
        found.ltrb.append(distance)
        found.centerness.append(network.conv(center, names.centerness, padding=1)[0, 0])
    return found


class _Network(NamedTuple):
    state: dict[str, Tensor]
    names: Names
    rules: Rules

    def weight_and_bias(self, template: str, **where: int) -> tuple[Tensor, Tensor | None]:
        weight = template.format(part="weight", **where)
        return self.state[weight], self.state.get(template.format(part="bias", **where))

    def conv(
        self, x: Tensor, template: str, stride: int = 1, padding: int = 0, **where: int
    ) -> Tensor:
        weight, bias = self.weight_and_bias(template, **where)
        return F.conv2d(x, weight, bias, stride=stride, padding=padding)

    def batch_norm(self, x: Tensor, template: str, **where: int) -> Tensor:
        weight, bias, mean, var = (
            self.state[template.format(part=part, **where)].view(1, -1, 1, 1) for part in PARTS
        )
        return (x - mean) / (var + self.rules.eps).sqrt() * weight + bias

    def stages(self, image: Tensor) -> list[Tensor]:
        """C2 to C5."""
        x = F.conv2d(image[None].double(), self.state[self.names.stem], stride=2, padding=3)
        x = self.batch_norm(x, self.names.stem_norm).relu()
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        stages = []
        for stage, blocks in enumerate(BLOCKS):
            for block in range(blocks):
                stride = 2 if stage and block == 0 else 1
                x = self.bottleneck(x, stride, stage + self.names.first_stage, block)
            stages.append(x)
        return stages

    def bottleneck(self, x: Tensor, stride: int, stage: int, block: int) -> Tensor:
        names, state = self.names, self.state
        at = {"stage": stage, "block": block}
        first, second = (stride, 1) if self.rules.stride_in_1x1 else (1, stride)
        y = F.conv2d(x, state[names.conv.format(index=1, **at)], stride=first)
        y = self.batch_norm(y, names.norm, index=1, **at).relu()
        y = F.conv2d(y, state[names.conv.format(index=2, **at)], stride=second, padding=1)
        y = self.batch_norm(y, names.norm, index=2, **at).relu()
        y = F.conv2d(y, state[names.conv.format(index=3, **at)])
        y = self.batch_norm(y, names.norm, index=3, **at)
        if block == 0:
            x = F.conv2d(x, state[names.shortcut.format(**at)], stride=stride)
            x = self.batch_norm(x, names.shortcut_norm, **at)
        return (x + y).relu()

    def pyramid(self, stages: list[Tensor], p6_from_c5: bool) -> list[Tensor]:
        """P3 to P5, or to P7."""
        names = self.names
        laterals = [
            self.conv(stages[level + 1], names.lateral, level=level + names.first_level)
            for level in range(3)
        ]
        for level in (1, 0):
            doubled = laterals[level + 1].repeat_interleave(2, 2).repeat_interleave(2, 3)
            laterals[level] = laterals[level] + doubled
        pyramid = [
            self.conv(x, names.output, padding=1, level=level + names.first_level)
            for level, x in enumerate(laterals)
        ]
        if names.p6.format(part="weight") in self.state:
            source = stages[-1] if p6_from_c5 else pyramid[-1]
            p6 = self.conv(source, names.p6, stride=2, padding=1)
            pyramid += [p6, self.conv(p6.relu(), names.p7, stride=2, padding=1)]
        return pyramid

    def tower(self, x: Tensor, level: int, conv_name: str, norm_name: str) -> Tensor:
        for layer in range(DEPTH):
            number = self.names.tower_step * layer
            x = self.conv(x, conv_name, padding=1, number=number, layer=layer)
            at = {"number": number + 1, "layer": layer}
            of_level = norm_name.replace("{part}", f"{level}.{{part}}")
            if of_level.format(part="running_var", **at) in self.state:
                x = self.batch_norm(x, of_level, **at)
            elif self.names.tower_step == 3:
                affine = self.weight_and_bias(norm_name, **at)
                x = F.group_norm(x, 32, *affine, eps=1e-5)
            x = x.relu()
        return x


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
