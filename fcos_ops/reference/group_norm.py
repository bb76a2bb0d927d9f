"""Group normalization (Wu and He, arXiv 1803.08494), with a ReLU behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .common import compute_dtype


def group_norm(
    maps: Tensor | Sequence[Tensor],
    weight: Tensor,
    bias: Tensor,
    *,
    groups: int,
    eps: float = 1e-5,
    activation: str | None = None,
) -> Any:
    """(x - mean) / sqrt(variance + eps) * weight + bias, mean and biased variance taken over the
    locations and the channels / groups neighbouring channels of a group; then max(0, .) where
    activation is "relu".

    maps: [B, C, H, W], or a list of such; weight, bias: [C]. The maths is float32 (float64 for
    float64 maps). Returns what `maps` is, in the maps' dtype and layout.
    """
    if isinstance(maps, Tensor):
        return _one(maps, weight, bias, groups, eps, activation)
    return [_one(x, weight, bias, groups, eps, activation) for x in maps]


def _one(
    x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, activation: str | None
) -> Tensor:
    real = compute_dtype(x)
    batch, channels, height, width = x.shape
    grouped = x.to(real).reshape(batch, groups, channels // groups, height, width)
    over = (2, 3, 4)
    centered = grouped - grouped.mean(over, keepdim=True)
    variance = centered.square().mean(over, keepdim=True)
    y = (centered * torch.rsqrt(variance + eps)).reshape(x.shape)
    y = y * weight.to(real)[:, None, None] + bias.to(real)[:, None, None]
    if activation == "relu":
        y = y.relu()
    return torch.empty_like(x).copy_(y)  # in the layout and dtype of x
