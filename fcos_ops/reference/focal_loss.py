"""Sigmoid focal loss (Lin et al., "Focal Loss for Dense Object Detection", arXiv 1708.02002,
equation 5)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .common import at_infinity, compute_dtype, reduce_loss, weighted

_SOFTPLUS_THRESHOLD = 40.0  # log(1 + exp(z)) is z beyond it; torch's default of 20 is not exact


def sigmoid_focal_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    weight: Tensor | None = None,
    normalizer: float | Tensor | None = None,
    normalizer_floor: float = 1.0,
    reduction: str = "sum",
) -> Tensor:
    """Focal loss of independent sigmoid classifiers.

    logits: [..., C], any float type. labels: [...] int64 or int32: class in [0, C), -1 background,
    -2 ignored (loss and gradient 0); outside [-2, C): NaN on that row. Or float targets in [0, 1]
    of logits' shape.
    alpha: weight of the positive class, 1 - alpha of the others; negative: no weights. gamma: >= 0.
    weight: [...], or logits' shape with float targets. normalizer: the result is divided by
    max(normalizer, floor).
    reduction: none (logits' shape) | sum | mean (sum / number of logits, 0 if there are none).
    Returns float32, float64 for float64 logits. An infinite logit costs 0 where it is right, else
    infinity, at the slope of the limit.
    """
    x = logits.to(compute_dtype(logits))
    if labels.is_floating_point():
        loss = _loss_of_targets(x, labels.to(x.dtype), alpha, gamma)
        if weight is not None:
            weight = weight if weight.dim() == loss.dim() else weight[..., None]
            loss = weighted(loss, weight.to(x.dtype))
    else:
        loss = _loss_of_labels(x, labels, weight, alpha, gamma)
    return reduce_loss(loss, reduction, normalizer, normalizer_floor)


def _loss_of_labels(
    x: Tensor, labels: Tensor, weight: Tensor | None, alpha: float, gamma: float
) -> Tensor:
    classes = torch.arange(x.shape[-1], device=x.device)
    is_class = labels[..., None] == classes
    # Masked before the maths: a NaN logit of an ignored row must not reach the loss or the
    # gradient.
    x = x.masked_fill((labels == -2)[..., None], 0.0)
    z = torch.where(is_class, -x, x)  # log-odds of the wrong answer
    loss = F.softplus(z, threshold=_SOFTPLUS_THRESHOLD)
    if gamma > 0:
        # sigmoid(z)^gamma by its logarithm: pow has no finite gradient where sigmoid(z) is 0, and
        # to a large gamma it matters how far below 1 a sigmoid is that rounds to 1.
        infinite = z.isposinf()  # where sigmoid(z) is 1, of slope 0
        power = torch.exp(gamma * F.logsigmoid(z.masked_fill(infinite, 0.0)))
        loss = loss * power.masked_fill(infinite, 1.0)
    row = _row_factor(labels, weight, x)[..., None]
    factor = row if alpha < 0 else torch.where(is_class, alpha * row, (1 - alpha) * row)
    return weighted(loss, factor)


def _row_factor(labels: Tensor, weight: Tensor | None, x: Tensor) -> Tensor:
    """[...]: the row's weight, NaN where the label is out of range, 0 where it is ignored."""
    one = x.new_ones(())
    row = one if weight is None else weight.to(x.dtype)
    row = torch.where((labels < -2) | (labels >= x.shape[-1]), torch.nan, row)
    return torch.where(labels == -2, 0.0, row)


def _loss_of_targets(x: Tensor, target: Tensor, alpha: float, gamma: float) -> Tensor:
    finite = x.masked_fill(x.isinf(), 0.0)
    log_p, log_not_p = F.logsigmoid(finite), F.logsigmoid(-finite)
    loss = -(target * log_p + (1 - target) * log_not_p)
    if gamma != 0:
        # 1 - p_t = p (1 - target) + (1 - p) target, by logarithms: see above.
        log_wrong = torch.logaddexp(log_p + torch.log1p(-target), log_not_p + torch.log(target))
        loss = loss * torch.exp(gamma * log_wrong)
    loss = at_infinity(loss, x, target, gamma)
    if alpha >= 0:
        loss = weighted(loss, alpha * target + (1 - alpha) * (1 - target))
    return loss
