"""ResNet-18/34/50 without the classifier (He et al., arXiv 1512.03385).

The stride sits in the 3x3 convolution ("v1.5") and the names of the weights are torchvision's, so
its classification checkpoints load once `fc.*` is dropped.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from .norm import NormName, make_norm

BackboneName = Literal["resnet18", "resnet34", "resnet50"]


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


def _conv1x1(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: [B, inputs, H, W] -> [B, planes, H/stride, W/stride]."""

    expansion = 1

    def __init__(
        self, inputs: int, planes: int, stride: int, norm: NormName, downsample: nn.Module | None
    ) -> None:
        super().__init__()
        self.conv1 = _conv3x3(inputs, planes, stride)
        self.bn1 = make_norm(norm, planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv3x3(planes, planes)
        self.bn2 = make_norm(norm, planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return self.relu(x + shortcut)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 to 4 * planes channels, and a shortcut."""

    expansion = 4

    def __init__(
        self, inputs: int, planes: int, stride: int, norm: NormName, downsample: nn.Module | None
    ) -> None:
        super().__init__()
        self.conv1 = _conv1x1(inputs, planes)
        self.bn1 = make_norm(norm, planes)
        self.conv2 = _conv3x3(planes, planes, stride)
        self.bn2 = make_norm(norm, planes)
        self.conv3 = _conv1x1(planes, planes * self.expansion)
        self.bn3 = make_norm(norm, planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        return self.relu(x + shortcut)


_DEPTHS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}


class ResNet(nn.Module):
    """The body of a ResNet: image [B, 3, H, W] -> maps C3, C4, C5 at strides 8, 16, 32.

    Args:
        name: depth of the network.
        norm: see `make_norm`.
        width: channels of the stem; 64 is the published network, 32 a thin one with a quarter of
            its multiplications.

    Attributes:
        out_channels: channels of C3, C4, C5.
    """

    def __init__(
        self,
        name: BackboneName,
        norm: NormName = "bn",
        width: int = 64,
        *,
        norm_eps: float = 1e-5,
        stride_in_1x1: bool = False,
        freeze_at: int = 0,
    ) -> None:
        super().__init__()
        if name not in _DEPTHS:
            raise ValueError(f"backbone: expected one of {sorted(_DEPTHS)}, got {name!r}")
        if width < 1:
            raise ValueError(f"width: expected a positive number of channels, got {width}")
        block, depths = _DEPTHS[name]
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = make_norm(norm, width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = width
        stages = []
        for index, depth in enumerate(depths):
            planes = width << index
            stages.append(_stage(block, channels, planes, depth, 1 if index == 0 else 2, norm))
            channels = planes * block.expansion
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.out_channels = tuple((width << i) * block.expansion for i in (1, 2, 3))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        c3 = self.layer2(self.layer1(x))
        c4 = self.layer3(c3)
        return c3, c4, self.layer4(c4)


def _stage(
    block: type[BasicBlock] | type[Bottleneck],
    inputs: int,
    planes: int,
    depth: int,
    stride: int,
    norm: NormName,
) -> nn.Sequential:
    outputs = planes * block.expansion
    downsample: nn.Module | None = None
    if stride != 1 or inputs != outputs:
        downsample = nn.Sequential(_conv1x1(inputs, outputs, stride), make_norm(norm, outputs))
    blocks: list[nn.Module] = [block(inputs, planes, stride, norm, downsample)]
    blocks += [block(outputs, planes, 1, norm, None) for _ in range(1, depth)]
    return nn.Sequential(*blocks)
