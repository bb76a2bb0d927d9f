"""Centerness target and loss (FCOS, arXiv 1904.01355, equation 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .common import at_infinity, compute_dtype, reduce_loss


@torch.no_grad()
def centerness_target(ltrb: Tensor) -> Tensor:
    """sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)).

    ltrb: [..., 4] distances to the box sides, any unit. Returns [...] in [0, 1], float32 (float64
    for float64): 0 where a side is <= 0, NaN where one is NaN. Not differentiable.
    """
    ltrb = ltrb.to(compute_dtype(ltrb))
    left, top, right, bottom = ltrb.unbind(-1)
    horizontal = torch.minimum(left, right) / torch.maximum(left, right)
    vertical = torch.minimum(top, bottom) / torch.maximum(top, bottom)
    return torch.where(ltrb.amin(-1) <= 0, 0.0, torch.sqrt(horizontal * vertical))


def centerness_loss(
    logits: Tensor,
    target: Tensor,
    *,
    mask: Tensor | None = None,
    labels: Tensor | None = None,
    normalizer: float | Tensor | None = None,
    normalizer_floor: float = 1.0,
    reduction: str = "sum",
) -> Tensor:
    """Binary cross entropy with logits, over the elements that count.

    logits, target: [...]. An element counts where mask ([...] bool) is true, or labels ([...]
    integer) is >= 0; every element does where neither is given. Elsewhere loss and gradient are 0,
    whatever logits and target hold. An infinite logit costs 0 where the target is its limit, else
    infinity.
    normalizer: the result is divided by max(normalizer, normalizer_floor).
    reduction: none ([...]) | sum | mean (sum / number of logits, 0 if there are none).
    Returns float32, float64 for float64 logits.
    """
    x = logits.to(compute_dtype(logits))
    target = target.to(x.dtype)
    if labels is not None:
        mask = labels >= 0
    if mask is not None:  # masked before the maths too, or a NaN would reach the gradient
        x = torch.where(mask, x, 0.0)
    finite = x.masked_fill(x.isinf(), 0.0)
    loss = -(target * F.logsigmoid(finite) + (1 - target) * F.logsigmoid(-finite))
    loss = at_infinity(loss, x, target)
    if mask is not None:
        loss = torch.where(mask, loss, 0.0)
    return reduce_loss(loss, reduction, normalizer, normalizer_floor)
