"""ResNet (He et al., arXiv 1512.03385) and ResNeXt (Xie et al., arXiv 1611.05431), no classifier.

The names of the weights are torchvision's, so its classification checkpoints load once `fc.*` is
dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, get_args

from torch import Tensor, nn

from ..names import NUM_STAGES, BackboneName, NormName
from .activation_checkpointing import checkpointed
from .norm import frozen, make_norm

_MakeNorm = Callable[[int], nn.Module]


def _conv3x3(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, groups=groups, bias=False)


def _conv1x1(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: [B, inputs, H, W] -> [B, planes, H/stride, W/stride]."""

    expansion = 1

    def __init__(
        self, inputs: int, planes: int, stride: int, norm: _MakeNorm, downsample: nn.Module | None
    ) -> None:
        super().__init__()
        self.conv1 = _conv3x3(inputs, planes, stride)
        self.bn1 = norm(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv3x3(planes, planes)
        self.bn2 = norm(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return self.relu(x + shortcut)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 to 4 * planes channels, and a shortcut.

    The 3x3 has the stride, unless `stride_in_1x1`. It has planes channels in a ResNet and
    planes * width_per_group / 64 in each of its groups in a ResNeXt.
    """

    expansion = 4

    def __init__(
        self,
        inputs: int,
        planes: int,
        stride: int,
        norm: _MakeNorm,
        downsample: nn.Module | None,
        *,
        groups: int,
        width_per_group: int,
        stride_in_1x1: bool,
    ) -> None:
        super().__init__()
        inner = planes * width_per_group // 64 * groups
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = _conv1x1(inputs, inner, stride_1x1)
        self.bn1 = norm(inner)
        self.conv2 = _conv3x3(inner, inner, stride_3x3, groups)
        self.bn2 = norm(inner)
        self.conv3 = _conv1x1(inner, planes * self.expansion)
        self.bn3 = norm(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        return self.relu(x + shortcut)


class ResNetArchitecture(NamedTuple):
    """A published network: its blocks, how many in layer1 to layer4, and their groups, of
    width_per_group channels in layer1."""

    block: type[BasicBlock] | type[Bottleneck]
    depths: tuple[int, int, int, int]
    groups: int = 1
    width_per_group: int = 64


ARCHITECTURES: dict[str, ResNetArchitecture] = {
    "resnet18": ResNetArchitecture(BasicBlock, (2, 2, 2, 2)),
    "resnet34": ResNetArchitecture(BasicBlock, (3, 4, 6, 3)),
    "resnet50": ResNetArchitecture(Bottleneck, (3, 4, 6, 3)),
    "resnet101": ResNetArchitecture(Bottleneck, (3, 4, 23, 3)),
    "resnet152": ResNetArchitecture(Bottleneck, (3, 8, 36, 3)),
    "resnext50_32x4d": ResNetArchitecture(Bottleneck, (3, 4, 6, 3), 32, 4),
    "resnext101_32x8d": ResNetArchitecture(Bottleneck, (3, 4, 23, 3), 32, 8),
    "resnext101_64x4d": ResNetArchitecture(Bottleneck, (3, 4, 23, 3), 64, 4),
}


def check_backbone(name: str, width: int, stride_in_1x1: bool) -> None:
    """ValueError where `ResNet` cannot be built from these, under their names in `ModelConfig`."""
    if name not in ARCHITECTURES:
        raise ValueError(f"backbone must be one of {list(get_args(BackboneName))}, got {name!r}")
    architecture = ARCHITECTURES[name]
    if width < 1:
        raise ValueError(f"backbone_width must be a positive number of channels, got {width}")
    unit = 64 // architecture.width_per_group
    if width % unit:
        raise ValueError(
            f"backbone_width must be a multiple of {unit}, which keeps the groups of {name} "
            f"whole, got {width}"
        )
    if stride_in_1x1 and architecture.block is BasicBlock:
        raise ValueError(f"stride_in_1x1 must be False, as {name} has no 1x1 there, got True")


class ResNet(nn.Module):
    """The body of a ResNet or ResNeXt: image [B, 3, H, W] -> maps C3, C4, C5 at strides 8, 16, 32.

    Args:
        name: one of `BackboneName`.
        norm: see `make_norm`.
        width: channels of the stem; 64 is the published network, 32 a thin one with a quarter of
            its multiplications. A ResNeXt keeps its number of groups and has thinner ones.
        norm_eps: added to the variance by every norm.
        stride_in_1x1: bottlenecks have the stride in their first 1x1 convolution, as in the first
            publication and the weights that MSRA, Caffe2 and Detectron trained; False: in the 3x3
            ("v1.5"), as torchvision.
        freeze_at: how many stages are not trained: 1 is the stem, 2 the stem and layer1, up to 5.
            Their weights get no gradients, and batch norms there are frozen ones.

    Attributes:
        out_channels: channels of C3, C4, C5.
        activation_checkpointing: in training each residual block keeps only its input, and is
            computed again for its gradients: less memory for a third more multiplications.

    Raises:
        ValueError: see `check_backbone`.
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
        check_backbone(name, width, stride_in_1x1)
        self.activation_checkpointing = False
        block, depths, groups, width_per_group = ARCHITECTURES[name]
        make_block: Callable[..., nn.Module] = block
        if block is Bottleneck:
            make_block = partial(
                block, groups=groups, width_per_group=width_per_group, stride_in_1x1=stride_in_1x1
            )
        norms = [
            partial(make_norm, frozen(norm) if stage < freeze_at else norm, eps=norm_eps)
            for stage in range(NUM_STAGES)
        ]
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = norms[0](width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = width
        layers = []
        for index, depth in enumerate(depths):
            planes = width << index
            outputs = planes * block.expansion
            stride = 1 if index == 0 else 2
            norm_of_stage = norms[index + 1]
            downsample: nn.Module | None = None
            if stride != 1 or channels != outputs:
                downsample = nn.Sequential(
                    _conv1x1(channels, outputs, stride), norm_of_stage(outputs)
                )
            blocks = [make_block(channels, planes, stride, norm_of_stage, downsample)]
            for _ in range(1, depth):
                blocks.append(make_block(outputs, planes, 1, norm_of_stage, None))
            layers.append(nn.Sequential(*blocks))
            channels = outputs
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.out_channels = tuple((width << i) * block.expansion for i in (1, 2, 3))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        stages = [nn.ModuleList([self.conv1, self.bn1]), *layers]
        for stage in stages[:freeze_at]:
            stage.requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        c3 = self._layer(self.layer2, self._layer(self.layer1, x))
        c4 = self._layer(self.layer3, c3)
        return c3, c4, self._layer(self.layer4, c4)

    def _layer(self, layer: nn.Sequential, x: Tensor) -> Tensor:
        if not (self.activation_checkpointing and self.training):
            return layer(x)
        for block in layer:
            x = checkpointed(block, x)
        return x
