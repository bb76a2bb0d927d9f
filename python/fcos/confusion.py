"""Which category was taken for which."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .coco_tables import Floats, Indices, ResultTable, TruthTable

MIN_IOU = 0.5  # of a detection with its object


def confusion(truth: TruthTable, found: ResultTable, *, min_score: float) -> NDArray[np.int64]:
    """Counts [K + 1, K + 1] of objects of category (row) found as category (column).

    The last row counts detections of what is no object, the last column objects that were not
    found. Each detection, best score first, takes the object with the greatest IoU that none took
    before it, whatever its category. One that took none is not counted where half of it or more
    lies in a crowd of its category.

    Args:
        min_score: detections from this score on.
    """
    nothing = len(truth.category_ids)
    counts = np.zeros((nothing + 1, nothing + 1), np.int64)
    shown = np.flatnonzero(found.scores >= min_score)
    shown = shown[np.argsort(-found.scores[shown], kind="stable")]
    images = len(truth.image_ids)
    own_truth = _by_image(truth.images, np.arange(len(truth.images)), images)
    own_found = _by_image(found.images[shown], shown, images)
    for objects, detections in zip(own_truth, own_found, strict=True):
        crowds, objects = objects[truth.crowds[objects]], objects[~truth.crowds[objects]]
        iou, _ = _overlaps(found.boxes[detections], truth.boxes[objects])
        _, inside = _overlaps(found.boxes[detections], truth.boxes[crowds])
        free = np.ones(len(objects), np.bool_)
        for row, detection in enumerate(detections):
            category = found.categories[detection]
            overlap = np.where(free, iou[row], -1.0)
            best = int(overlap.argmax()) if len(objects) else -1
            if best >= 0 and overlap[best] >= MIN_IOU:
                free[best] = False
                counts[truth.categories[objects[best]], category] += 1
            elif not (inside[row][truth.categories[crowds] == category] >= 0.5).any():
                counts[nothing, category] += 1
        missed = np.bincount(truth.categories[objects[free]], minlength=nothing)
        counts[:nothing, nothing] += missed
    return counts


def _by_image(images: Indices, rows: Indices, count: int) -> Iterator[Indices]:
    """The rows of each image, in their order."""
    order = np.argsort(images, kind="stable")
    ends = np.searchsorted(images[order], np.arange(count), side="right")
    yield from np.split(rows[order], ends[:-1])


def _overlaps(found: Floats, truth: Floats) -> tuple[Floats, Floats]:
    """IoU, and the share of a detection that lies in the other box; [N, M] each, boxes x y width
    height."""
    corners = np.maximum(found[:, None, :2], truth[None, :, :2])
    ends = np.minimum((found[:, :2] + found[:, 2:])[:, None], (truth[:, :2] + truth[:, 2:])[None])
    shared = np.clip(ends - corners, 0, None).prod(-1)
    areas = found[:, 2:].prod(-1)[:, None]
    union = areas + truth[:, 2:].prod(-1)[None] - shared
    tiny = np.finfo(np.float64).tiny  # boxes without any area share nothing
    return shared / np.maximum(union, tiny), shared / np.maximum(areas, tiny)
