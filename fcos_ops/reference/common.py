"""What the reference ops share."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """float64 where an input is float64, else float32: the type that all maths and results are
    in."""
    return torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32


def at_infinity(loss: Tensor, x: Tensor, target: Tensor, gamma: float = 0.0) -> Tensor:
    """`loss`, but of an infinite logit x the limit and its slope: with w the share of the target
    that x is on the wrong side of, w^(1 + gamma) |x|, and 0 where w is 0."""
    wrong = torch.where(x > 0, 1 - target, target)
    slope = (wrong ** (1 + gamma)).clamp(min=torch.finfo(x.dtype).tiny)
    return torch.where(x.isinf(), torch.where(wrong == 0, 0.0, slope * x.abs()), loss)


def weighted(loss: Tensor, factor: Tensor) -> Tensor:
    """loss * factor; an infinite loss that does not count is 0."""
    return loss.masked_fill(loss.isposinf() & (factor == 0), 0.0) * factor


def reduce_loss(
    loss: Tensor, reduction: str, normalizer: float | Tensor | None, normalizer_floor: float
) -> Tensor:
    """none: loss; sum: its sum; mean: sum / number of elements, 0 if there are none. Then /
    max(normalizer, floor), a tensor's value at least by the smallest normal number."""
    if reduction == "sum":
        loss = loss.sum()
    elif reduction == "mean":
        loss = loss.sum() / max(loss.numel(), 1)
    if normalizer is None:
        return loss
    if isinstance(normalizer, Tensor):
        floor = max(normalizer_floor, torch.finfo(loss.dtype).tiny)
        # clamp takes no finite number that the dtype does not hold.
        held = floor <= torch.finfo(loss.dtype).max
        divisor = normalizer.to(loss.dtype).reshape(())
        return loss / divisor.clamp(min=floor if held else math.inf)
    return loss / max(float(normalizer), normalizer_floor)
