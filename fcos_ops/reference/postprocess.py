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
from .nms import nms_padded


class _Candidates(NamedTuple):
    """image: [K] int64. boxes: [K, 4] xyxy pixels. scores: [K]. labels: [K] int64."""

    image: Tensor
    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def select(self, index: Tensor) -> _Candidates:
        return _Candidates(*(column[index] for column in self))


@torch.no_grad()
def postprocess(
    cls_logits: Sequence[Tensor],
    ltrb: Sequence[Tensor],
    centerness: Sequence[Tensor],
    image_sizes: Tensor,
    *,
    levels: Sequence[Level],
    rule: str | PostprocessRule = "improved",
    normalized: bool | None = None,
    location_offset: float | None = None,
) -> Detections:
    """Detections of a batch.

    One tensor a level: cls_logits [B, C, H, W], ltrb [B, 4, H, W] (distances after the activation),
    centerness [B, 1, H, W] logits. image_sizes: [B, 2] (height, width) without padding, to clip the
    boxes to.
    normalized: ltrb is in units of `Level.scale`, else pixels. location_offset: that of the
    assignment. Where None, both are those of the assignment preset of rule's name; True and 0.5
    where rule is no name. Top-k ties: lower location * C + class first. Order: score descending,
    then level, then rank in the level.
    """
    normalized, location_offset = resolve_head_convention(rule, normalized, location_offset)
    rule = resolve_postprocess_rule(rule)
    dtype = compute_dtype(*cls_logits, *ltrb, *centerness)
    per_level = [
        _level_candidates(*(t.to(dtype) for t in outputs), level, rule, normalized, location_offset)
        for *outputs, level in zip(cls_logits, ltrb, centerness, levels, strict=True)
    ]
    found = _Candidates(*(torch.cat(columns) for columns in zip(*per_level, strict=True)))
    found = found.select(torch.argsort(found.image, stable=True))
    sizes = image_sizes.to(dtype)
    if rule.clip == "before_nms":
        found = found._replace(boxes=_clip(found.boxes, sizes[found.image]))
        if rule.drop_empty:
            found = found.select(_has_area(found.boxes).nonzero().squeeze(1))

    num_images = image_sizes.shape[0]
    per_image = torch.bincount(found.image, minlength=num_images)
    keep, count = nms_padded(
        found.boxes,
        found.scores,
        found.labels,
        torch.cat([per_image.new_zeros(1), per_image.cumsum(0)]),
        iou_threshold=rule.iou_threshold,
        score_threshold=None,
        max_detections=rule.max_detections,
    )
    # Index -1 reads the last row: a row of padding is appended for it.
    boxes = torch.cat([found.boxes, found.boxes.new_zeros(1, 4)])
    if rule.clip == "after_nms":
        owner = torch.cat([found.image, found.image.new_zeros(1)])
        boxes = _clip(boxes, sizes[owner]) if num_images else boxes
        if rule.drop_empty:
            keep, count = _drop(keep, ~_has_area(boxes))
    scores = torch.cat([found.scores, found.scores.new_zeros(1)])
    labels = torch.cat([found.labels, found.labels.new_full((1,), -1)])
    return Detections(boxes[keep], scores[keep], labels[keep], count)


def _level_candidates(
    cls_logits: Tensor,
    ltrb: Tensor,
    centerness: Tensor,
    level: Level,
    rule: PostprocessRule,
    normalized: bool,
    location_offset: float,
) -> _Candidates:
    """The best candidates_per_level (location, class) pairs of each image, by image, then rank."""
    class_score = cls_logits.sigmoid()
    center_score = centerness.sigmoid()
    tested = (
        class_score if rule.threshold_on == "class" else _score(class_score, center_score, rule)
    )
    passed = (tested > rule.score_threshold).permute(0, 2, 3, 1)
    image, row, column, label = passed.nonzero(as_tuple=True)  # by image, location, class
    class_score = class_score[image, label, row, column]
    score = _score(class_score, center_score[image, 0, row, column], rule)

    key = score if rule.rank_by == "score" else class_score
    order = (~score.isnan()).nonzero().squeeze(1)
    order = order[torch.argsort(key[order], descending=True, stable=True)]
    order = order[torch.argsort(image[order], stable=True)]
    order = order[_rank_in_image(image[order], passed.shape[0]) < rule.candidates_per_level]
    image, row, column = image[order], row[order], column[order]

    distance = ltrb[image, :, row, column]
    if normalized:
        distance = distance * level.scale
    x = (column.to(ltrb.dtype) + location_offset) * level.stride_x
    y = (row.to(ltrb.dtype) + location_offset) * level.stride_y
    location = torch.stack([x, y], -1)
    boxes = torch.cat([location - distance[:, :2], location + distance[:, 2:]], -1)
    return _Candidates(image, boxes, score[order], label[order])


def _score(class_score: Tensor, center_score: Tensor, rule: PostprocessRule) -> Tensor:
    product = class_score * center_score
    return product.sqrt() if rule.score == "sqrt" else product


def _rank_in_image(image: Tensor, num_images: int) -> Tensor:
    """[K]: how many earlier elements belong to the same image. image: [K], ascending."""
    per_image = torch.bincount(image, minlength=num_images)
    return (
        torch.arange(image.shape[0], device=image.device) - (per_image.cumsum(0) - per_image)[image]
    )


def _clip(boxes: Tensor, sizes: Tensor) -> Tensor:
    limit = sizes.flip(-1).repeat(1, 2)  # (width, height, width, height)
    return torch.minimum(boxes.clamp(min=0), limit)


def _has_area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def _drop(keep: Tensor, unwanted: Tensor) -> tuple[Tensor, Tensor]:
    """keep without the unwanted rows, close-packed again, and the new counts. unwanted: last
    element for padding."""
    gone = unwanted[keep]
    keep = keep.masked_fill(gone, -1)
    keep = keep.gather(1, torch.argsort(gone.to(torch.int8), dim=1, stable=True))
    return keep, (~gone).sum(1)
