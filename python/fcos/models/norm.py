"""Normalisation layers of the backbone and of the heads."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..structures import PAD_MULTIPLE

NormName = Literal["bn", "gn", "frozen_bn"]
HeadNormName = Literal["gn"]


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


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with the published 32 groups, fewer where a group would hold under 4 channels."""
    groups = min(32, max(1, channels // 4))
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels)


def make_norm(name: NormName, channels: int) -> nn.Module:
    """The backbone's norm layer.

    `bn` learns from the batch: from scratch with batches of 8 or more. `gn` does not depend on the
    batch: from scratch with smaller ones. `frozen_bn` only applies stored statistics: pretrained.
    """
    if name == "bn":
        return nn.BatchNorm2d(channels)
    if name == "gn":
        return group_norm(channels)
    if name == "frozen_bn":
        return FrozenBatchNorm2d(channels)
    raise ValueError(f"norm: expected 'bn', 'gn' or 'frozen_bn', got {name!r}")


def check_batch(norm: NormName, images: Tensor) -> None:
    """UserError where the coarsest map of the images [B, 3, H, W] is too small to train `norm`."""
    count, _, height, width = images.shape
    values = count * (height // PAD_MULTIPLE) * (width // PAD_MULTIPLE)
    if norm == "bn" and values == 1:
        raise UserError(
            "norm bn needs more than one value a channel, and one image of "
            f"{height} x {width} pixels has one at stride {PAD_MULTIPLE}: "
            "take --norm gn, a larger --batch or a larger --size"
        )
