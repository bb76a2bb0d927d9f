"""Files of other programs' weights: a ResNet-50 with thin stages, a pyramid of `WIDTH` channels and
towers of `DEPTH` convolutions, in float64."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .foreign_names import Names

BLOCKS = (3, 4, 6, 3)
STEM = 8
WIDTH = 128  # the fewest channels that 32 groups of 4 fill
DEPTH = 2
PARTS = ("weight", "bias", "running_mean", "running_var")


def random_file(names: Names, **kind: Any) -> dict[str, Tensor]:
    """Weights under a program's names, always the same; see `_random_file`."""
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
    file = _File(names)
    file.add_backbone()
    file.add_pyramid(levels, p6_from_c5)
    for conv, norm in ((names.cls_conv, names.cls_norm), (names.box_conv, names.box_norm)):
        file.add_tower(conv, norm, levels, bias, head_norm)
    # group norm alone brings the values of the pyramid, ten thousands, back to one
    size = 1.0 if head_norm == "gn" else 1e-4
    file.biased(names.logits, classes, WIDTH, 3, size)
    file.biased(names.boxes, 4, WIDTH, 3, size)
    file.biased(names.centerness, 1, WIDTH, 3, size)
    for level in range(levels if names.scale else 0):
        assert names.scale is not None
        file.vector(names.scale.format(level=level), scale_shape, 0.7, 1.4)
    return file.state


class _File:
    def __init__(self, names: Names) -> None:
        self.names = names
        self.generator = torch.Generator().manual_seed(0)
        self.state: dict[str, Tensor] = {}

    def conv(self, name: str, outputs: int, inputs: int, kernel: int) -> None:
        shape = (outputs, inputs, kernel, kernel)
        values = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        self.state[name] = values * (2 / (inputs * kernel**2)) ** 0.5

    def vector(self, name: str, shape: tuple[int, ...], low: float, high: float) -> None:
        values = torch.rand(shape, generator=self.generator, dtype=torch.float64)
        self.state[name] = values * (high - low) + low

    def norm(
        self, template: str, channels: int, parts: Sequence[str] = PARTS, **where: int
    ) -> None:
        for part in parts:
            low, high = (0.5, 1.5) if part in ("weight", "running_var") else (-0.2, 0.2)
            self.vector(template.format(part=part, **where), (channels,), low, high)

    def biased(
        self,
        template: str,
        outputs: int,
        inputs: int,
        kernel: int,
        size: float = 1.0,
        **where: int,
    ) -> None:
        weight = template.format(part="weight", **where)
        self.conv(weight, outputs, inputs, kernel)
        self.state[weight] *= size
        self.vector(template.format(part="bias", **where), (outputs,), -0.2, 0.2)

    def add_backbone(self) -> None:
        names = self.names
        self.conv(names.stem, STEM, 3, 7)
        self.norm(names.stem_norm, STEM)
        inputs = STEM
        for stage, blocks in enumerate(BLOCKS):
            planes = STEM << stage
            for block in range(blocks):
                at = {"stage": stage + names.first_stage, "block": block}
                for index, (outputs, source, kernel) in enumerate(
                    ((planes, inputs, 1), (planes, planes, 3), (4 * planes, planes, 1)), 1
                ):
                    self.conv(names.conv.format(index=index, **at), outputs, source, kernel)
                    self.norm(names.norm, outputs, index=index, **at)
                if block == 0:
                    self.conv(names.shortcut.format(**at), 4 * planes, inputs, 1)
                    self.norm(names.shortcut_norm, 4 * planes, **at)
                inputs = 4 * planes

    def add_pyramid(self, levels: int, p6_from_c5: bool) -> None:
        names = self.names
        for level in range(3):
            at = {"level": level + names.first_level}
            self.biased(names.lateral, WIDTH, STEM * 8 << level, 1, **at)
            self.biased(names.output, WIDTH, WIDTH, 3, **at)
        if levels == 5:
            self.biased(names.p6, WIDTH, STEM * 32 if p6_from_c5 else WIDTH, 3)
            self.biased(names.p7, WIDTH, WIDTH, 3)

    def add_tower(
        self, conv_name: str, norm_name: str, levels: int, bias: bool, head_norm: str
    ) -> None:
        for layer in range(DEPTH):
            number = self.names.tower_step * layer
            self.conv(conv_name.format(part="weight", number=number, layer=layer), WIDTH, WIDTH, 3)
            if bias:
                name = conv_name.format(part="bias", number=number, layer=layer)
                self.vector(name, (WIDTH,), -0.2, 0.2)
            at = {"number": number + 1, "layer": layer}
            if head_norm == "gn":
                self.norm(norm_name, WIDTH, PARTS[:2], **at)
            if head_norm == "bn":
                for level in range(levels):
                    of_level = norm_name.replace("{part}", f"{level}.{{part}}")
                    self.norm(of_level, WIDTH, **at)
                    counter = of_level.format(part="num_batches_tracked", **at)
                    self.state[counter] = torch.tensor(7)
