"""Normalisation layers of the backbone and of the heads."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor, nn

from ..names import HeadNormName, NormName


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation with fixed statistics and affine terms: for a pretrained backbone.

    The four tensors are buffers under the names of nn.BatchNorm2d, so its weights load here.
    `train()` does not change it. Input and output: [B, C, H, W].
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: object
    ) -> None:
        state_dict.pop(prefix + "num_batches_tracked", None)  # nn.BatchNorm2d writes it
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.to(x.dtype).view(1, -1, 1, 1) + shift.to(x.dtype).view(1, -1, 1, 1)


def group_norm(channels: int, eps: float = 1e-5) -> nn.GroupNorm:
    """GroupNorm with the published 32 groups, fewer where a group would hold under 4 channels."""
    groups = min(32, max(1, channels // 4))
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels, eps)


def make_norm(name: NormName, channels: int, eps: float = 1e-5) -> nn.Module:
    """The backbone's norm layer.

    `bn` learns from the batch: from scratch with batches of 8 or more. `sync_bn` learns from the
    batches of all processes. `gn` does not depend on the batch: from scratch with smaller ones.
    `frozen_bn` only applies stored statistics: pretrained.

    `eps` is added to the variance. torch trains `bn` and `sync_bn` only where it is above 0.
    """
    if name == "bn":
        return nn.BatchNorm2d(channels, eps)
    if name == "sync_bn":
        return nn.SyncBatchNorm(channels, eps)
    if name == "gn":
        return group_norm(channels, eps)
    if name == "frozen_bn":
        return FrozenBatchNorm2d(channels, eps)
    raise ValueError(f"norm must be one of {list(get_args(NormName))}, got {name!r}")


def frozen(name: NormName) -> NormName:
    """The norm of a stage that is not trained, with the weights of `name`."""
    return name if name == "gn" else "frozen_bn"


def make_head_norm(name: HeadNormName, channels: int, levels: int) -> nn.Module:
    """The norm behind a convolution of the towers, which all pyramid levels share.

    Group norms are shared like the convolutions. Batch norms are one a level, in a ModuleList: the
    levels have features of other statistics, and the running average over all of them would fit
    none. `none` leaves the features as they are.
    """
    if name == "gn":
        return group_norm(channels)
    if name in ("bn", "sync_bn"):
        kind = nn.BatchNorm2d if name == "bn" else nn.SyncBatchNorm
        return nn.ModuleList(kind(channels) for _ in range(levels))
    if name == "none":
        return nn.Identity()
    raise ValueError(f"head_norm must be one of {list(get_args(HeadNormName))}, got {name!r}")
