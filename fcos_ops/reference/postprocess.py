"""From head outputs to detections: scores, threshold, top-k of each level, decoding, per-class
NMS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..levels import Level
from ..presets import PostprocessRule, resolve_head_convention, resolve_postprocess_rule
from ..results import Detections
from .common import compute_dtype
from .nms import batched_nms


class _Candidates(NamedTuple):
    """boxes: [K, 4] xyxy pixels. scores: [K]. labels: [K] int64."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def select(self, index: Tensor | slice) -> _Candidates:
        return _Candidates(*(column[index] for column in self))


@torch.no_grad()
def postprocess(
    cls_logits: Sequence[Tensor],
    ltrb: Sequence[Tensor],
    centerness: Sequence[Tensor],
    image_sizes: Tensor,
    *,
    levels: Sequence[Level],
    original_sizes: Tensor | None = None,
    classes: Tensor | None = None,
    rule: str | PostprocessRule = "improved",
    normalized: bool | None = None,
    location_offset: float | None = None,
) -> Detections:
    """Detections of a batch.

    One tensor a level: cls_logits [B, C, H, W], ltrb [B, 4, H, W] (distances after the activation),
    centerness [B, 1, H, W] logits. image_sizes: [B, 2] (height, width) without padding, to clip the
    boxes to. original_sizes: [B, 2] sizes before images were resized to image_sizes; boxes are then
    given in pixels of the original. classes: [C] bool: those that may be detected, None: all.
    normalized: ltrb is in units of `Level.scale`, else pixels. location_offset: that of the
    assignment. Where None, both are those of the assignment preset of rule's name; True and 0.5
    where rule is no name. Top-k ties: lower location * C + class first. Order: score descending,
    then level, then rank in the level.
    """
    normalized, location_offset = resolve_head_convention(rule, normalized, location_offset)
    rule = resolve_postprocess_rule(rule)
    dtype = compute_dtype(*cls_logits, *ltrb, *centerness)
    batch, limit, device = image_sizes.shape[0], rule.max_detections, cls_logits[0].device
    padded = Detections(
        torch.zeros(batch, limit, 4, dtype=dtype, device=device),
        torch.zeros(batch, limit, dtype=dtype, device=device),
        torch.full((batch, limit), -1, device=device),
        torch.zeros(batch, dtype=torch.int64, device=device),
    )
    sizes = image_sizes.to(device, dtype)
    for image in range(batch):
        level_candidates = [
            _level_candidates(
                cls[image].to(dtype).flatten(1).T,
                ctr[image].to(dtype).flatten(),
                _decode(box[image].to(dtype), level, normalized, location_offset),
                rule,
                classes,
            )
            for cls, box, ctr, level in zip(cls_logits, ltrb, centerness, levels, strict=True)
        ]
        selected = _Candidates(
            *(torch.cat(columns) for columns in zip(*level_candidates, strict=True))
        )
        selected = _detections(selected, sizes[image], rule)
        if original_sizes is not None:
            original = original_sizes[image].to(device, dtype)
            selected = selected._replace(boxes=_undo_resize(selected.boxes, sizes[image], original))
        count = selected.scores.shape[0]
        padded.boxes[image, :count] = selected.boxes
        padded.scores[image, :count] = selected.scores
        padded.labels[image, :count] = selected.labels
        padded.count[image] = count
    return padded


def _level_candidates(
    cls_logits: Tensor,
    centerness: Tensor,
    boxes: Tensor,
    rule: PostprocessRule,
    classes: Tensor | None,
) -> _Candidates:
    """The best candidates_per_level (location, class) pairs of one level of one image, best first.

    cls_logits: [H * W, C]. centerness: [H * W]. boxes: [H * W, 4]. classes: [C] bool.
    """
    class_score, center_score = cls_logits.sigmoid(), centerness.sigmoid()
    tested = class_score
    if rule.threshold_on == "score":
        tested = _score(class_score, center_score[:, None], rule)
    is_candidate = tested > rule.score_threshold
    if classes is not None:
        is_candidate = is_candidate & classes
    location, label = is_candidate.nonzero(as_tuple=True)
    class_score = class_score[location, label]
    score = _score(class_score, center_score[location], rule)
    key = score if rule.rank_by == "score" else class_score
    best = _top(key.masked_fill(score.isnan(), -1.0), rule.candidates_per_level)
    return _Candidates(boxes[location[best]], score[best], label[best])


def _score(class_score: Tensor, center_score: Tensor, rule: PostprocessRule) -> Tensor:
    product = class_score * center_score
    return product.sqrt() if rule.score == "sqrt" else product


def _top(key: Tensor, k: int) -> Tensor:
    """[min(k, N)] indices of the largest, in falling order; of equals the first. key: [N]."""
    index = torch.arange(key.shape[0], device=key.device)
    if 0 < k < key.shape[0]:
        # topk may take any of equals, but its last value is right: only what reaches it is sorted.
        index = (key >= key.topk(k).values[-1]).nonzero().squeeze(1)
    return index[torch.argsort(key[index], descending=True, stable=True)[:k]]


def _decode(ltrb: Tensor, level: Level, normalized: bool, location_offset: float) -> Tensor:
    """[H * W, 4] xyxy boxes in pixels. ltrb: [4, H, W]."""
    height, width = ltrb.shape[1:]
    x = (
        torch.arange(width, dtype=ltrb.dtype, device=ltrb.device) + location_offset
    ) * level.stride_x
    y = (
        torch.arange(height, dtype=ltrb.dtype, device=ltrb.device) + location_offset
    ) * level.stride_y
    left, top, right, bottom = ltrb * level.scale if normalized else ltrb
    y = y[:, None]
    return torch.stack([x - left, y - top, x + right, y + bottom], -1).flatten(0, 1)


def _detections(selected: _Candidates, size: Tensor, rule: PostprocessRule) -> _Candidates:
    """What NMS keeps, by falling score, at most max_detections. size: [2] (height, width)."""
    if rule.clip == "before_nms":
        selected = _clip(selected, size, rule.drop_empty)
    class_ids = torch.zeros_like(selected.labels) if rule.class_agnostic else selected.labels
    selected = selected.select(
        batched_nms(selected.boxes, selected.scores, class_ids, rule.iou_threshold)
    )
    if rule.max_detections_per_class is not None:
        selected = selected.select(_rank_in_class(selected.labels) < rule.max_detections_per_class)
    selected = selected.select(slice(rule.max_detections))
    if rule.clip == "after_nms":
        selected = _clip(selected, size, rule.drop_empty)
    return selected


def _clip(selected: _Candidates, size: Tensor, drop_empty: bool) -> _Candidates:
    boxes = _clip_boxes(selected.boxes, size)
    selected = selected._replace(boxes=boxes)
    if not drop_empty:
        return selected
    return selected.select((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))


def _clip_boxes(boxes: Tensor, size: Tensor) -> Tensor:
    return torch.minimum(boxes.clamp(min=0), size.flip(0).repeat(2))  # width, height, width, height


def _rank_in_class(labels: Tensor) -> Tensor:
    """How many entries before each one have its label. labels: [K]."""
    order = torch.argsort(labels, stable=True)
    _, sizes = labels.unique(return_counts=True)
    starts = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    rank = torch.empty_like(labels)
    rank[order] = torch.arange(labels.shape[0], device=labels.device) - starts
    return rank


def _undo_resize(boxes: Tensor, size: Tensor, original: Tensor) -> Tensor:
    """boxes [K, 4] inside an image of `size`, in pixels of the image of `original` size that it was
    resized from: times the ratio, clipped as that is rounded; 0 where there are no pixels."""
    ratio = torch.where(size > 0, original / size, torch.zeros_like(size))
    return _clip_boxes(boxes * ratio.flip(0).repeat(2), original)
