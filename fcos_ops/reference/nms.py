"""Greedy non-maximum suppression with exact ties: score descending, then index ascending."""

from __future__ import annotations

import torch
from torch import Tensor

from ..results import PaddedKeep
from .common import compute_dtype

_BLOCK = 256


@torch.no_grad()
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Indices of the kept boxes, by falling score.

    boxes: [N, 4] xyxy. scores: [N]. A box is suppressed by a kept better one if their IoU >
    iou_threshold (0 to 1), tested as intersection > threshold * union in float32 (float64 for
    float64 boxes). NaN scores and boxes with a NaN coordinate are never kept and suppress nothing.
    Returns [K] int64.
    """
    return batched_nms(boxes, scores, torch.zeros_like(scores, dtype=torch.int64), iou_threshold)


@torch.no_grad()
def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """As `nms`, but only boxes with equal idxs ([N] integer, any value) suppress each other."""
    boxes = boxes.to(compute_dtype(boxes))
    order = _by_score(scores, _is_number(boxes, scores))
    return order[_greedy(boxes[order], idxs[order], iou_threshold)]


@torch.no_grad()
def nms_padded(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor | None,
    offsets: Tensor,
    *,
    iou_threshold: float,
    score_threshold: float | None,
    max_detections: int,
) -> PaddedKeep:
    """NMS of several images at once: the best max_detections kept boxes of each.

    boxes: [M, 4]. scores: [M]. classes: [M] integer, only equal ones suppress each other; None: all
    do. offsets: [B + 1]; image b owns the boxes offsets[b]:offsets[b + 1]. Only scores >
    score_threshold take part (None: all).
    """
    boxes = boxes.to(compute_dtype(boxes))
    scores = scores.to(compute_dtype(scores))
    num_images = offsets.shape[0] - 1
    bounds = offsets.to(torch.int64).clamp(0, boxes.shape[0])
    row = torch.arange(boxes.shape[0], device=boxes.device)
    image = torch.searchsorted(bounds[1:], row, right=True)
    candidate = _is_number(boxes, scores) & (row >= bounds[0]) & (row < bounds[-1])
    if score_threshold is not None:
        candidate &= scores > score_threshold

    order = _by_score(scores, candidate)
    group = image[order]
    if classes is not None:
        values, class_rank = torch.unique(classes[order], return_inverse=True)
        group = group * values.shape[0] + class_rank
    kept = order[_greedy(boxes[order], group, iou_threshold)]

    kept = kept[torch.argsort(image[kept], stable=True)]
    owner = image[kept]
    num_kept = torch.bincount(owner, minlength=num_images)
    rank = torch.arange(kept.shape[0], device=kept.device) - (num_kept.cumsum(0) - num_kept)[owner]
    fits = rank < max_detections
    keep = kept.new_full((num_images, max_detections), -1)
    keep[owner[fits], rank[fits]] = kept[fits]
    return PaddedKeep(keep, num_kept.clamp(max=max_detections))


def _is_number(boxes: Tensor, scores: Tensor) -> Tensor:
    return ~(boxes.isnan().any(1) | scores.isnan())


def _by_score(scores: Tensor, candidate: Tensor) -> Tensor:
    index = candidate.nonzero().squeeze(1)
    return index[torch.argsort(scores[index], descending=True, stable=True)]


def _greedy(boxes: Tensor, group: Tensor, iou_threshold: float) -> Tensor:
    """[N] bool, which boxes are kept. boxes: [N, 4], best first. group: [N] integer; only boxes of
    a group suppress each other."""
    kept = torch.zeros(boxes.shape[0], dtype=torch.bool, device=boxes.device)
    order = torch.argsort(group, stable=True)
    sizes = torch.unique_consecutive(group[order], return_counts=True)[1]
    for members in order.split(sizes.tolist()):
        kept[members[_greedy_in_group(boxes[members], iou_threshold)]] = True
    return kept


def _greedy_in_group(boxes: Tensor, iou_threshold: float) -> Tensor:
    """[K] int64, which boxes are kept. boxes: [N, 4], best first.

    Block by block: the best active boxes are resolved among themselves, then what the kept ones
    suppress is dropped from the active rest.
    """
    kept = []
    active = torch.arange(boxes.shape[0], device=boxes.device)
    while active.numel() > 0:
        block, active = active[:_BLOCK], active[_BLOCK:]
        block = block[_resolve_block(_overlaps(boxes[block], boxes[block], iou_threshold).triu(1))]
        active = active[~_overlaps(boxes[block], boxes[active], iou_threshold).any(0)]
        kept.append(block)
    return torch.cat(kept)


def _resolve_block(suppresses: Tensor) -> Tensor:
    """[N] bool, which boxes are kept. suppresses: [N, N] bool, strictly upper triangular.

    A box is kept if no kept box suppresses it. Each round is right for at least one box more, from
    the best on; when a round changes nothing, it is right for all.
    """
    kept = torch.ones_like(suppresses[0])
    while True:
        previous, kept = kept, ~(suppresses & kept[:, None]).any(0)
        if torch.equal(previous, kept):
            return kept


def _overlaps(a: Tensor, b: Tensor, iou_threshold: float) -> Tensor:
    """[A, B] bool, IoU > threshold, without a division: each operation rounds once."""
    ax1, ay1, ax2, ay2 = a[:, :, None].unbind(1)
    bx1, by1, bx2, by2 = b.unbind(1)
    w = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp(min=0)
    h = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp(min=0)
    area_a = (ax2 - ax1).clamp(min=0) * (ay2 - ay1).clamp(min=0)
    area_b = (bx2 - bx1).clamp(min=0) * (by2 - by1).clamp(min=0)
    intersection = w * h
    return intersection > iou_threshold * (area_a + area_b - intersection)
