"""What the reference ops share."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """float64 where an input is float64, else float32: the type that all maths and results are
    in."""
    return torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32


def reduce_loss(
    loss: Tensor, reduction: str, normalizer: float | Tensor | None, normalizer_floor: float
) -> Tensor:
    """none: loss; sum: its sum; mean: sum / number of elements, 0 if there are none. Then /
    max(normalizer, floor)."""
    if reduction == "sum":
        loss = loss.sum()
    elif reduction == "mean":
        loss = loss.sum() / max(loss.numel(), 1)
    if normalizer is None:
        return loss
    if isinstance(normalizer, Tensor):
        # clamp takes no finite number that the dtype does not hold.
        held = normalizer_floor <= torch.finfo(loss.dtype).max
        divisor = normalizer.to(loss.dtype).reshape(())
        return loss / divisor.clamp(min=normalizer_floor if held else math.inf)
    return loss / max(float(normalizer), normalizer_floor)
