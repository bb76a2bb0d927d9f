"""Which detection is of which object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .coco_tables import Floats, Indices, ResultTable, TruthTable

MIN_IOU = 0.5  # of a detection with its object
NO_OBJECT, IN_CROWD = -1, -2  # what a detection took that took no object


class ImageMatches(NamedTuple):
    """Of one image.

    Attributes:
        objects: int64 [N], rows of the `TruthTable`; crowds are none.
        detections: int64 [M], rows of the `ResultTable`, best score first.
        taken: int64 [M], the row of the object that each detection took, NO_OBJECT or IN_CROWD.
    """

    objects: Indices
    detections: Indices
    taken: Indices


def match_images(
    truth: TruthTable, found: ResultTable, *, min_score: float
) -> Iterator[ImageMatches]:
    """The matches of each image, in the order of `truth.image_ids`.

    Each detection, best score first, takes the object with the greatest IoU, from `MIN_IOU` on,
    that none took before it, whatever its category. One that took none is IN_CROWD where half of it
    or more lies in a crowd of its category.

    Args:
        min_score: detections from this score on.
    """
    shown = np.flatnonzero(found.scores >= min_score)
    shown = shown[np.argsort(-found.scores[shown], kind="stable")]
    images = len(truth.image_ids)
    own_truth = _by_image(truth.images, np.arange(len(truth.images)), images)
    own_found = _by_image(found.images[shown], shown, images)
    for rows, detections in zip(own_truth, own_found, strict=True):
        yield _match(truth, found, rows, detections)


def _match(
    truth: TruthTable, found: ResultTable, rows: Indices, detections: Indices
) -> ImageMatches:
    crowds, objects = rows[truth.crowds[rows]], rows[~truth.crowds[rows]]
    iou, _ = _overlaps(found.boxes[detections], truth.boxes[objects])
    _, inside = _overlaps(found.boxes[detections], truth.boxes[crowds])
    taken = np.full(len(detections), NO_OBJECT)
    free = np.ones(len(objects), np.bool_)
    for row, detection in enumerate(detections):
        overlap = np.where(free, iou[row], -1.0)
        best = int(overlap.argmax()) if len(objects) else -1
        if best >= 0 and overlap[best] >= MIN_IOU:
            free[best] = False
            taken[row] = objects[best]
            continue
        own_crowds = truth.categories[crowds] == found.categories[detection]
        if (inside[row][own_crowds] >= 0.5).any():
            taken[row] = IN_CROWD
    return ImageMatches(objects, detections, taken)


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
