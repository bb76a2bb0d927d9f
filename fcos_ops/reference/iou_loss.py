"""IoU losses of box pairs: IoU (UnitBox, arXiv 1608.01471), GIoU (1902.09630), DIoU and CIoU
(1911.08287)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .common import compute_dtype, reduce_loss

# Coordinates beyond it are clamped: even for boxes turned inside out, whose centres can be far
# apart inside an enclosing box of no size, d^2 / eps^1.5 then is a float32 with room for a loss
# scale.
_LIMIT = 2.0**33
_TINY = 1.17549435e-38  # the smallest normal float32


def iou_loss(
    pred: Tensor,
    target: Tensor,
    *,
    kind: str = "giou",
    box_format: str = "xyxy",
    weight: Tensor | None = None,
    normalizer: float | Tensor | None = None,
    normalizer_floor: float = 1e-6,
    reduction: str = "sum",
    eps: float = 1e-7,
) -> Tensor:
    """Loss of each pair of boxes.

    pred, target: [..., 4], xyxy corners, or ltrb distances from a common location; both
    differentiable.
    kind: iou (-log(max(iou, eps))) | linear_iou (1 - iou) | giou | diou | ciou (1 - that measure).
    weight: [...]. normalizer: the result is divided by max(normalizer, normalizer_floor).
    reduction: none ([...]) | sum | mean (sum / number of boxes, 0 if there are none). eps: > 0,
    added to denominators.
    Returns float32, float64 for float64 boxes. Finite with finite gradient for finite boxes; NaN
    for NaN.
    """
    dtype = compute_dtype(pred, target)
    p = _corners(pred.to(dtype), box_format)
    t = _corners(target.to(dtype), box_format)
    iou, union = _iou(p, t, eps)
    if kind == "iou":
        loss = -torch.log(iou.clamp(min=eps))
    elif kind == "linear_iou":
        loss = 1 - iou
    else:
        # The smallest box around both. Sides are clamped because those of inverted boxes can be
        # negative.
        enclosing_w = _at_least_0(torch.maximum(p[2], t[2]) - torch.minimum(p[0], t[0]))
        enclosing_h = _at_least_0(torch.maximum(p[3], t[3]) - torch.minimum(p[1], t[1]))
        if kind == "giou":
            enclosing = enclosing_w * enclosing_h
            loss = 1 - (iou - (enclosing - union) / (enclosing + eps))
        else:
            dx = ((p[0] - t[0]) + (p[2] - t[2])) * 0.5
            dy = ((p[1] - t[1]) + (p[3] - t[3])) * 0.5
            diagonal2 = enclosing_w * enclosing_w + enclosing_h * enclosing_h
            loss = 1 - (iou - (dx * dx + dy * dy) / (diagonal2 + eps))
            if kind == "ciou":
                loss = loss + _aspect_term(p, t, iou, eps)
    # A NaN makes all of its pair NaN, the gradients of both boxes too.
    is_nan = (pred.isnan() | target.isnan()).any(-1, keepdim=True)
    nan = torch.where(is_nan, torch.nan, 0.0).to(dtype)
    loss = torch.where(is_nan[..., 0], (nan * pred + nan * target).sum(-1), loss)
    if weight is not None:
        loss = loss * weight.to(dtype)
    return reduce_loss(loss, reduction, normalizer, normalizer_floor)


def _corners(boxes: Tensor, box_format: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x1, y1, x2, y2 = boxes.clamp(-_LIMIT, _LIMIT).unbind(-1)
    if box_format == "ltrb":
        x1, y1 = -x1, -y1
    return x1, y1, x2, y2


def _sides(box: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    return _at_least_0(box[2] - box[0]), _at_least_0(box[3] - box[1])


def _at_least_0(side: Tensor) -> Tensor:
    """max(side, 0) with gradient 1 at 0, so a predicted box of no width can still grow.

    Neither relu nor clamp: the gradient of clamp at its limit is 1 in torch 2.13 and 0 in 2.15.
    """
    return side.masked_fill(side < 0, 0.0) + 0.0  # never -0, whose angle is another


def _iou(p: tuple[Tensor, ...], t: tuple[Tensor, ...], eps: float) -> tuple[Tensor, Tensor]:
    """intersection / (union + eps), and the union."""
    wp, hp = _sides(p)
    wt, ht = _sides(t)
    overlap_w = torch.relu(torch.minimum(p[2], t[2]) - torch.maximum(p[0], t[0]))
    overlap_h = torch.relu(torch.minimum(p[3], t[3]) - torch.maximum(p[1], t[1]))
    intersection = overlap_w * overlap_h
    union = wp * hp + wt * ht - intersection
    return intersection / (union + eps), union


def _aspect_term(p: tuple[Tensor, ...], t: tuple[Tensor, ...], iou: Tensor, eps: float) -> Tensor:
    """alpha * v of CIoU; alpha is a constant in the backward pass, as in the paper."""
    v = (4 / math.pi**2) * (_angle(*_sides(t)) - _angle(*_sides(p))) ** 2
    alpha = (v / ((1 - iou).clamp(min=0) + v + eps)).detach()  # rounding can make iou exceed 1
    return alpha * v


def _angle(w: Tensor, h: Tensor) -> Tensor:
    """atan2(w, h), with gradient 0 where w*w + h*h underflows: a box that small has no usable
    aspect ratio."""
    tiny = w * w + h * h < _TINY
    angle = torch.atan2(w.masked_fill(tiny, 0.0), h.masked_fill(tiny, 1.0))
    return torch.where(tiny, torch.atan2(w, h).detach(), angle)
