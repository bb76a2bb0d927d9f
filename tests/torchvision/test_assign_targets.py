"""The preset `torchvision` matches every location to the box that torchvision's FCOS does."""

from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops

pytestmark = pytest.mark.torchvision
detection = pytest.importorskip("torchvision.models.detection", reason="torchvision not installed")


@pytest.fixture(scope="module")
def model() -> Any:
    return detection.fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=7)


def torchvision_matches(
    model: Any, sizes: list[tuple[int, int]], padded: tuple[int, int], boxes: list[Tensor]
) -> Tensor:
    """[B, N] index into the boxes of each image or -1: what compute_loss hands to its head."""
    features = [torch.zeros(len(boxes), 1, *size) for size in sizes]
    images = detection.image_list.ImageList(
        torch.zeros(len(boxes), 3, *padded), [padded] * len(boxes)
    )
    anchors = model.anchor_generator(images, features)
    caught: list[Tensor] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.head, "compute_loss", lambda t, h, a, matched: caught.extend(matched))
        per_level = [height * width for height, width in sizes]
        model.compute_loss([{"boxes": b} for b in boxes], {}, anchors, per_level)
    return torch.stack(caught)


def uniform(count: int, height: int, width: int) -> Tensor:
    """Corners anywhere, so mostly large boxes, and some beyond the image."""
    corners = torch.rand(count, 2, 2) * torch.tensor([width, height]) * 1.2
    return torch.cat([corners.amin(1), corners.amax(1)], 1)


def photographed(count: int, height: int, width: int) -> Tensor:
    """As in COCO: most objects small, some in groups of one size, corners at hundredths of a pixel
    before the image is resized."""
    center = torch.rand(count, 2) * torch.tensor([width, height])
    area = torch.exp(torch.randn(count) * 1.6 + 8)
    aspect = torch.exp(torch.randn(count) * 0.5)
    size = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], 1)
    group = count // 3
    center[:group] = center[:1] + torch.randn(group, 2) * 40
    size[:group] = size[:1]
    corners = torch.cat([center - size / 2, center + size / 2], 1).clamp(min=0)
    return (corners * 100).round() / 100 * (800 / 427)


def on_the_grid(count: int, height: int, width: int) -> Tensor:
    """Whole multiples of 4: locations on sides and on the border of centre squares, sizes at the
    limits of ranges, equal areas."""
    return (uniform(count, height, width) / 4).round() * 4 + torch.tensor([0, 0, 4, 4])


# (padded image, sizes of the feature maps)
PYRAMIDS = {
    "800x1344": ((800, 1344), [(100, 168), (50, 84), (25, 42), (13, 21), (7, 11)]),
    "608x1088": ((608, 1088), [(76, 136), (38, 68), (19, 34), (10, 17), (5, 9)]),
    "64x96": ((64, 96), [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]),
}


@pytest.mark.parametrize("layout", [uniform, photographed, on_the_grid])
@pytest.mark.parametrize("pyramid", PYRAMIDS)
def test_same_matches_as_torchvision(model: Any, pyramid: str, layout: Any) -> None:
    padded, sizes = PYRAMIDS[pyramid]
    levels = fcos_ops.pyramid_levels(sizes, image_size=padded, rule="torchvision")
    for seed in range(3):
        torch.manual_seed(seed)
        boxes = [layout(count, *padded) for count in (60, 0, 1, 9)]
        boxes = [b[(b[:, 2:] > b[:, :2]).all(1)] for b in boxes]
        expected = torchvision_matches(model, sizes, padded, boxes)
        offsets = torch.tensor([0, *(len(b) for b in boxes)]).cumsum(0)
        joined = torch.cat(boxes)
        labels = torch.arange(len(joined))
        targets = fcos_ops.assign_targets(levels, joined, labels, offsets, rule="torchvision")
        expected = torch.where(expected >= 0, expected + offsets[:-1, None], -1)
        assert torch.equal(targets.matched, expected)
        assert targets.num_pos == (expected >= 0).sum() > 0
