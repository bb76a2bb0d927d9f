"""Boxes and scores for the tests of NMS, and the comparison with the reference."""

import math
from typing import Any

import torch
from torch import Tensor

import fcos_ops
from fcos_ops import reference

INF, NAN = math.inf, math.nan
THRESHOLDS = [0.0, 0.05, 0.3, 0.5, 0.6, 1.0]
OPTIONS: dict[str, Any] = {"iou_threshold": 0.5, "score_threshold": 0.05, "max_detections": 20}


def corners(left_top: Tensor, size: Tensor) -> Tensor:
    return torch.cat([left_top, left_top + size], 1)


def uniform(n: int) -> Tensor:
    return corners(torch.rand(n, 2) * 300 - 100, torch.rand(n, 2) * 60 + 4)


def integral(n: int) -> Tensor:
    """Many overlaps exactly at the thresholds."""
    return corners(torch.randint(0, 12, (n, 2)).float(), torch.randint(0, 7, (n, 2)).float())


def clustered(n: int) -> Tensor:
    """As a detector gives: jittered copies of n / 20 boxes."""
    centers = uniform(n // 20 + 1)
    return centers[torch.randint(0, len(centers), (n,))] + torch.randn(n, 4) * 2


def of_all_sizes(n: int) -> Tensor:
    """Sides over six decades, each by itself."""
    return corners(torch.rand(n, 2) * 300, 10 ** (torch.rand(n, 2) * 6 - 3))


def bars(n: int) -> Tensor:
    """Longer than the image, one pixel thin, both ways."""
    size = torch.tensor([[1000.0, 1.5], [1.5, 1000.0]])[torch.randint(0, 2, (n,))]
    return corners(torch.rand(n, 2) * 40 - 500, size)


def far_away(n: int) -> Tensor:
    """Where neighbouring float32 numbers are up to a pixel apart, and one box at the origin."""
    boxes = uniform(n) * torch.tensor([1.0, 0.5, 1, 0.5]) + torch.tensor([8.3e6, -4.2e6] * 2)
    boxes[:1] = torch.tensor([0.0, 0, 1, 1])
    return boxes


def tiny(n: int) -> Tensor:
    """Areas that underflow: subnormal, or zero; a few are of normal size."""
    exponent = torch.tensor([-23.0, -22.0, -21.0, -19.0])[torch.randint(0, 4, (n, 1))]
    boxes = integral(n) * 10**exponent
    boxes[::9] = boxes[::9] * 1e22
    return boxes


def huge(n: int) -> Tensor:
    """Areas, or their sums, that overflow."""
    exponent = torch.tensor([17.0, 18.5, 20.0, 37.0])[torch.randint(0, 4, (n, 1))]
    return integral(n) * 10**exponent


def identical(n: int) -> Tensor:
    return torch.tensor([[3.0, 4, 9, 11]]).repeat(n, 1)


def special(n: int) -> Tensor:
    """NaN, infinities, inverted boxes among ordinary ones."""
    boxes = uniform(n)
    values = torch.tensor([NAN, INF, -INF, -INF, INF, -0.0, 0.0, 1e38, -1e38])
    where = torch.rand(n, 4) < 0.15
    return torch.where(where, values[torch.randint(0, len(values), (n, 4))], boxes)


LAYOUTS = [
    *(uniform, integral, clustered, of_all_sizes, bars),
    *(far_away, tiny, huge, identical, special),
]


def tied(n: int) -> Tensor:
    """Scores of 30 values, both zeros among them."""
    return torch.randint(-15, 15, (n,)) * torch.tensor(0.125)


def batch(sizes: list[int], offset_dtype: torch.dtype = torch.int64) -> tuple[Tensor, ...]:
    """(boxes, scores, classes, offsets) of images with the given numbers of boxes."""
    n = sum(sizes)
    offsets = torch.tensor([0, *sizes]).cumsum(0).to(offset_dtype)
    return clustered(n), tied(n), torch.randint(0, 4, (n,)), offsets


def assert_nms(boxes: Tensor, scores: Tensor, threshold: float) -> None:
    keep = fcos_ops.nms(boxes, scores, threshold)
    assert keep.dtype == torch.int64 and keep.is_contiguous()
    assert torch.equal(keep, reference.nms(boxes, scores, threshold))


def assert_batched_nms(boxes: Tensor, scores: Tensor, ids: Tensor, threshold: float) -> None:
    keep = fcos_ops.batched_nms(boxes, scores, ids, threshold)
    assert keep.dtype == torch.int64 and keep.is_contiguous()
    assert torch.equal(keep, reference.batched_nms(boxes, scores, ids, threshold))
