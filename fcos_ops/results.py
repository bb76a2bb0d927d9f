"""What the ops that return several tensors return.

A field named `count` hides tuple.count, which nothing needs here; mypy has to be told.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Targets(NamedTuple):
    """What every location of every image should predict; N locations, level-major then row-major.

    labels: [B, N] int64, class, -1 on background. ltrb: [B, N, 4] distances to the box sides,
    pixels or units of `Level.scale` by the rule, 0 on background. centerness: [B, N], 0 on
    background. matched: [B, N] int64, flat index into the boxes, -1 on background. num_pos: []
    int64, matched locations of the batch. centerness_sum: [], the sum of their centerness. Floats
    are float32 (float64 for float64 boxes).
    """

    labels: Tensor
    ltrb: Tensor
    centerness: Tensor
    matched: Tensor
    num_pos: Tensor
    centerness_sum: Tensor


class FcosLosses(NamedTuple):
    """The losses of FCOS, each a scalar, float32 (float64 where a head is); train on the sum of the
    first three.

    num_pos: [], matched locations of the batch, a float. centerness_sum: [], the sum of their
    centerness. Both are on the device, before `normalize`, for logging.
    """

    classification: Tensor
    bbox_regression: Tensor
    centerness: Tensor
    num_pos: Tensor
    centerness_sum: Tensor


class PaddedKeep(NamedTuple):
    """Kept boxes of each image.

    keep: [B, max_detections] int64, flat indices by falling score, then -1. count: [B] int64.
    """

    keep: Tensor
    count: Tensor  # type: ignore[assignment]


class Detections(NamedTuple):
    """Detections of each image by falling score, padded with zeros (labels: -1) behind `count`.

    boxes: [B, D, 4] xyxy pixels. scores: [B, D]. labels: [B, D] int64. count: [B] int64.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    count: Tensor  # type: ignore[assignment]
