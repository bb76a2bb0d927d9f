"""nms and batched_nms keep what torchvision's keep, wherever rounding does not decide.

torchvision compares a quotient with the threshold, fcos_ops products, so they may differ only where
an IoU is within rounding of the threshold. Its batched_nms sorts unstably: no two scores are equal.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fcos_ops

pytestmark = pytest.mark.torchvision
ops = pytest.importorskip("torchvision.ops", reason="torchvision is not installed")

MARGIN = 1e-6
THRESHOLDS = (0.3, 0.5, 0.6, 0.7)


def uniform(n: int) -> Tensor:
    corner = torch.rand(n, 2) * 1000
    return torch.cat([corner, corner + torch.rand(n, 2) * 90 + 10], 1)


def clustered(n: int) -> Tensor:
    centers = uniform(n // 25 + 1)
    return centers[torch.randint(0, len(centers), (n,))] + torch.randn(n, 4) * 4


def settled(layout: Callable[[int], Tensor], n: int, threshold: float) -> Tensor:
    """Boxes of which no pair has an exact IoU near the threshold: those that do are drawn again."""
    boxes = layout(n)
    while True:
        exact = boxes.double()
        ious = (ops.box_iou(part, exact) for part in exact.split(500))
        close = [((iou - threshold).abs() <= MARGIN).any(1) for iou in ious]
        again = torch.cat(close).nonzero().squeeze(1)
        if len(again) == 0:
            return boxes
        boxes[again] = layout(len(again))


def class_by_class(boxes: Tensor, scores: Tensor, ids: Tensor, threshold: float) -> Tensor:
    """What batched_nms promises; torchvision's shifts few boxes by class, and so rounds them."""
    members = [(ids == value).nonzero().squeeze(1) for value in ids.unique()]
    kept = [m[ops.nms(boxes[m], scores[m], threshold)] for m in members]
    keep = torch.cat(kept) if kept else ids
    return keep[scores[keep].argsort(descending=True)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", [uniform, clustered])
@pytest.mark.parametrize("n", [0, 1, 33, 900, 3000])
def test_keeps_what_torchvision_keeps(
    n: int, layout: Callable[[int], Tensor], dtype: torch.dtype
) -> None:
    torch.manual_seed(n)
    for threshold in THRESHOLDS:
        boxes, scores = settled(layout, n, threshold).to(dtype), torch.randperm(n).to(dtype)
        keep = fcos_ops.nms(boxes, scores, threshold)
        assert torch.equal(keep, ops.nms(boxes, scores, threshold))
        ids = torch.randint(0, 80, (n,))
        keep = fcos_ops.batched_nms(boxes, scores, ids, threshold)
        assert torch.equal(keep, class_by_class(boxes, scores, ids, threshold))
        if n > 1000:
            assert torch.equal(keep, ops.batched_nms(boxes, scores, ids, threshold))


def test_equal_scores_stay_in_order_as_in_torchvision() -> None:
    boxes = settled(clustered, 2000, 0.5)
    scores = torch.randint(0, 40, (2000,)) / 40
    assert torch.equal(fcos_ops.nms(boxes, scores, 0.5), ops.nms(boxes, scores, 0.5))


def test_boxes_without_area() -> None:
    boxes = uniform(300)
    boxes[::3, 2] = boxes[::3, 0]
    boxes[1::6, 3] = boxes[1::6, 1]
    boxes = torch.cat([boxes, boxes[:200]])
    scores = torch.randperm(500).float()
    assert torch.equal(fcos_ops.nms(boxes, scores, 0.5), ops.nms(boxes, scores, 0.5))
