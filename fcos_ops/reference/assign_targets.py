"""Target assignment: which ground-truth box each location of the pyramid should predict (FCOS,
arXiv 2006.09214)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..levels import Level
from ..presets import AssignmentRule, resolve_assignment_rule
from ..results import Targets
from .centerness import centerness_target
from .common import compute_dtype


class _Locations(NamedTuple):
    """Per location, [N]: position in pixels, and its level's scale and size of interest."""

    x: Tensor
    y: Tensor
    scale: Tensor
    lower: Tensor
    upper: Tensor


@torch.no_grad()
def assign_targets(
    levels: Sequence[Level],
    boxes: Tensor,
    labels: Tensor,
    offsets: Tensor,
    *,
    rule: str | AssignmentRule = "improved",
) -> Targets:
    """Match every location of every image to at most one box.

    boxes: [M, 4] xyxy pixels. labels: [M] int64 or int32. offsets: [B + 1] int64 or int32; image b
    owns the boxes offsets[b]:offsets[b + 1]. Of the boxes a location may match, the one with the
    smallest area wins.
    Returns `Targets` in float32 (float64 for float64 boxes). Memory: several [N, M of one image]
    matrices.
    """
    rule = resolve_assignment_rule(rule)
    boxes = boxes.to(compute_dtype(boxes))
    locations = _locations(levels, rule.location_offset, boxes)
    bounds = offsets.clamp(0, boxes.shape[0]).tolist()
    matched = locations.x.new_full((len(bounds) - 1, locations.x.shape[0]), -1, dtype=torch.int64)
    for image, (start, stop) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
        if start < stop:
            best = _match(locations, boxes[start:stop], rule)
            matched[image] = torch.where(best >= 0, best + start, -1)

    # Index -1 reads the last row: a background row is appended for it.
    box = torch.cat([boxes, boxes.new_zeros(1, 4)])[matched]
    label = torch.cat([labels.to(torch.int64), labels.new_full((1,), -1, dtype=torch.int64)])
    ltrb = torch.stack(_sides(locations.x, locations.y, box), -1)
    if rule.normalize_ltrb:
        ltrb = ltrb / locations.scale[:, None]
    positive = matched >= 0
    ltrb = torch.where(positive[..., None], ltrb, 0.0)
    centerness = centerness_target(ltrb)
    return Targets(label[matched], ltrb, centerness, matched, positive.sum(), centerness.sum())


def _locations(levels: Sequence[Level], location_offset: float, like: Tensor) -> _Locations:
    def axis(size: int, stride: int) -> Tensor:
        cells = torch.arange(size, dtype=like.dtype, device=like.device)
        return (cells + location_offset) * stride

    xs, ys = [], []
    for level in levels:
        y, x = torch.meshgrid(
            axis(level.height, level.stride_y), axis(level.width, level.stride_x), indexing="ij"
        )
        xs.append(x.flatten())
        ys.append(y.flatten())

    def spread(values: list[float]) -> Tensor:
        numbers = like.new_tensor(values)  # inf where the dtype does not hold a number
        return torch.cat([n.expand_as(x) for n, x in zip(numbers, xs, strict=True)])

    return _Locations(
        torch.cat(xs),
        torch.cat(ys),
        spread([level.scale for level in levels]),
        spread([level.lower for level in levels]),
        spread([level.upper for level in levels]),
    )


def _sides(x: Tensor, y: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x1, y1, x2, y2 = boxes.unbind(-1)
    return x - x1, y - y1, x2 - x, y2 - y


def _match(locations: _Locations, boxes: Tensor, rule: AssignmentRule) -> Tensor:
    """[N] index into one image's boxes, -1 where none matches."""
    x, y = locations.x[:, None], locations.y[:, None]
    left, top, right, bottom = _sides(x, y, boxes)
    match = (left > 0) & (top > 0) & (right > 0) & (bottom > 0)
    farthest = torch.maximum(torch.maximum(left, top), torch.maximum(right, bottom))
    if rule.range_inclusive:
        match &= (locations.lower[:, None] <= farthest) & (farthest <= locations.upper[:, None])
    else:
        match &= (locations.lower[:, None] < farthest) & (farthest < locations.upper[:, None])
    if rule.center_radius > 0:
        match &= _in_center(
            x, y, boxes, locations.scale[:, None] * rule.center_radius, rule.center_region
        )

    x1, y1, x2, y2 = boxes.unbind(-1)
    area = (x2 - x1) * (y2 - y1)
    match &= area < rule.max_area
    cost = area
    if rule.area_rule == "float32_complement":
        # torchvision and detectron2 maximise 1e8 - area in float32, whose spacing there is 8 square
        # pixels.
        complement = 1e8 - area.to(torch.float32)
        match &= complement >= 1e-5
        cost = -complement
    cost = torch.where(match, cost, torch.inf)
    return torch.where(match.any(1), cost.argmin(1), -1)  # argmin: the first of equals


def _in_center(x: Tensor, y: Tensor, boxes: Tensor, radius: Tensor, region: str) -> Tensor:
    """[N, M] bool, for locations inside the box: so "clipped" need not look at its sides again."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    cx, cy = (x1 + x2) * 0.5, (y1 + y2) * 0.5
    if region == "chebyshev":
        return ((x - cx).abs() < radius) & ((y - cy).abs() < radius)
    return (x > cx - radius) & (x < cx + radius) & (y > cy - radius) & (y < cy + radius)
