"""The FCOS head: two towers shared by all pyramid levels, three outputs per location."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..names import HeadNormName
from .norm import make_head_norm
from .variant import Variant

PRIOR_PROBABILITY = 0.01  # of any class at the start: the focal loss paper's pi, bias -4.595
_MAX_LOG_DISTANCE = 40.0  # of pixels: 2e17


class HeadOutput(NamedTuple):
    """One map per pyramid level, P3 first.

    Attributes:
        classification: logits [B, C, H, W].
        ltrb: distances [B, 4, H, W] after the activation: pixels, or units of the level's scale
            where the assignment rule normalises.
        centerness: logits [B, 1, H, W].
    """

    classification: list[Tensor]
    ltrb: list[Tensor]
    centerness: list[Tensor]


class Scale(nn.Module):
    """A learnable factor, 1 at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale.to(x.dtype)


class Tower(nn.ModuleList):
    """Convolutions 3x3, each with its norm and ReLU: [B, channels, H, W] -> the same shape."""

    def __init__(
        self, channels: int, depth: int, levels: int, norm: HeadNormName, conv_bias: bool
    ) -> None:
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [
                nn.Conv2d(channels, channels, 3, padding=1, bias=conv_bias),
                make_head_norm(norm, channels, levels),
                nn.ReLU(inplace=True),
            ]
        super().__init__(layers)

    def forward(self, x: Tensor, level: int) -> Tensor:
        for layer in self:
            x = layer[level](x) if isinstance(layer, nn.ModuleList) else layer(x)
        return x


class ClassificationHead(nn.Module):
    """Tower and class logits."""

    def __init__(self, tower: Tower, channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv = tower
        self.cls_logits = nn.Conv2d(channels, num_classes, 3, padding=1)


class RegressionHead(nn.Module):
    """Tower, distances and centerness. `scales` exists only where the variant has them."""

    def __init__(self, tower: Tower, channels: int, levels: int, scale: bool) -> None:
        super().__init__()
        self.conv = tower
        self.bbox_reg = nn.Conv2d(channels, 4, 3, padding=1)
        self.bbox_ctrness = nn.Conv2d(channels, 1, 3, padding=1)
        if scale:
            self.scales = nn.ModuleList(Scale() for _ in range(levels))


class Head(nn.Module):
    """Pyramid maps [B, channels, H, W] -> HeadOutput.

    Args:
        channels: of the pyramid and of both towers.
        depth: 3x3 convolutions in each tower; 4 in the published networks.
        num_classes: C.
        variant: see `Variant`.
        levels: pyramid levels, each with its Scale and its batch norms.
        norm: of the towers; see `make_head_norm`.
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        num_classes: int,
        variant: Variant,
        levels: int = 5,
        norm: HeadNormName = "gn",
    ) -> None:
        super().__init__()
        self.variant = variant
        self.center_on_classification = variant.centerness_tower == "classification"
        towers = [Tower(channels, depth, levels, norm, variant.conv_bias) for _ in range(2)]
        self.classification_head = ClassificationHead(towers[0], channels, num_classes)
        self.regression_head = RegressionHead(towers[1], channels, levels, variant.scale)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        prior_bias = -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY)
        cls_bias = self.classification_head.cls_logits.bias
        assert cls_bias is not None
        nn.init.constant_(cls_bias, prior_bias)

    def forward(self, pyramid: Sequence[Tensor]) -> HeadOutput:
        output = HeadOutput([], [], [])
        regression = self.regression_head
        for level, feature in enumerate(pyramid):
            cls_feature = self.classification_head.conv(feature, level)
            reg_feature = regression.conv(feature, level)
            center_feature = cls_feature if self.center_on_classification else reg_feature
            raw = regression.bbox_reg(reg_feature)
            if self.variant.scale:
                raw = regression.scales[level](raw)
            output.classification.append(self.classification_head.cls_logits(cls_feature))
            output.ltrb.append(self._distances(raw))
            output.centerness.append(regression.bbox_ctrness(center_feature))
        return output

    def _distances(self, raw: Tensor) -> Tensor:
        if self.variant.activation == "relu":
            return raw.relu()
        # exp overflows float16 above 11, and its gradient is not finite where float32 overflows
        return raw.float().clamp(max=_MAX_LOG_DISTANCE).exp()
