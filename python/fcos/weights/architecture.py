"""What the names and shapes of a detector's weights say of its network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

from torch import Tensor

from ..errors import UserError, a_few
from ..models.resnet import ARCHITECTURES, Bottleneck
from ..names import ExtraLevels

_BACKBONES: dict[tuple[object, ...], str] = {
    (a.depths, a.block is Bottleneck, a.groups, a.width_per_group): name
    for name, a in ARCHITECTURES.items()
}
_BODY = "backbone.body."
_FPN = "backbone.fpn."
_TOWER = "head.classification_head.conv."


class Architecture(NamedTuple):
    """The fields of `ModelConfig` that weights under our names show."""

    backbone: str
    backbone_width: int
    norm: str
    num_classes: int
    width: int
    depth: int
    num_levels: int
    extra_levels: ExtraLevels
    head_norm: str
    conv_bias: bool
    scale: bool

    @property
    def is_bottleneck_resnet(self) -> bool:
        """Whether Caffe2's backbones of this kind, MSRA's, have the stride in the 1x1 convolution;
        its ResNeXts, which came later, do not."""
        return self.has_bottlenecks and ARCHITECTURES[self.backbone].groups == 1

    @property
    def has_bottlenecks(self) -> bool:
        return ARCHITECTURES[self.backbone].block is Bottleneck


def architecture(state: Mapping[str, Tensor]) -> Architecture:
    """Read the network off weights under our names (torchvision's, with or without Scale).

    What is not looked at here, a missing tensor or one of another shape, shows when the weights are
    loaded.

    Raises:
        UserError: of no network that can be built here.
    """
    width = _shape(state, _FPN + "inner_blocks.0.0.weight")[0]
    backbone_width = _shape(state, _BODY + "conv1.weight")[0]
    depth = sum(name.startswith(_TOWER) and state[name].dim() == 4 for name in state)
    if depth == 0:
        _refuse(f"towers of convolutions, {_TOWER}*", "none")
    has_extra = _FPN + "extra_blocks.p6.weight" in state
    p6_inputs = _shape(state, _FPN + "extra_blocks.p6.weight")[1] if has_extra else width
    head_norm = _head_norm(state)
    if head_norm == "gn" and (width < 128 or width % 32):
        _refuse("towers of 128 channels or a larger multiple of 32 for its 32 groups", str(width))
    return Architecture(
        backbone=_backbone(state, backbone_width),
        backbone_width=backbone_width,
        norm=_norm(state),
        num_classes=_shape(state, "head.classification_head.cls_logits.weight")[0],
        width=width,
        depth=depth,
        num_levels=5 if has_extra else 3,
        extra_levels="p5" if p6_inputs == width else "c5",
        head_norm=head_norm,
        conv_bias=_TOWER + "0.bias" in state,
        scale="head.regression_head.scales.0.scale" in state,
    )


def _backbone(state: Mapping[str, Tensor], width: int) -> str:
    blocks = []
    for stage in range(1, 5):
        name = re.compile(rf"{re.escape(_BODY)}layer{stage}\.(\d+)\.conv1\.weight")
        blocks.append(sum(name.fullmatch(key) is not None for key in state))
    first = _BODY + "layer1.0."
    inner, of_group = _shape(state, first + "conv2.weight")[:2]
    groups = inner // of_group
    bottlenecks = first + "conv3.weight" in state
    backbone = _BACKBONES.get((tuple(blocks), bottlenecks, groups, of_group * 64 / width))
    if backbone is None:
        found = f"stages of {blocks} blocks, {groups} groups of {of_group} channels"
        _refuse(f"one of the backbones {', '.join(ARCHITECTURES)}", found)
    return backbone


def _norm(state: Mapping[str, Tensor]) -> str:
    if _BODY + "bn1.running_mean" not in state:
        _refuse("batch norm in the backbone", "weights without its statistics")
    live = any(n.startswith(_BODY) and n.endswith("num_batches_tracked") for n in state)
    return "bn" if live else "frozen_bn"


def _head_norm(state: Mapping[str, Tensor]) -> str:
    """Of the first norm: one of all levels, or one of batch norm for each level."""
    names = [name for name in state if name.startswith(_TOWER + "1.")]
    if not names:
        return "none"
    if all(re.fullmatch(r"\d+\.\w+", name.removeprefix(_TOWER + "1.")) for name in names):
        return "bn"
    if {name.removeprefix(_TOWER + "1.") for name in names} != {"weight", "bias"}:
        _refuse("group norm, batch norm for each level or no norm in the towers", a_few(names))
    return "gn"


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    if name not in state or state[name].dim() != 4 or state[name].numel() == 0:
        _refuse(f"{name!r} of a convolution", "another shape" if name in state else "none")
    return tuple(state[name].shape)


def _refuse(expected: str, found: str) -> NoReturn:
    raise UserError(f"weights must have {expected}, got {found}")
