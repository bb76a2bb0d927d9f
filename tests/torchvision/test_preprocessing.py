"""The preset `torchvision` prepares images and boxes as GeneralizedRCNNTransform does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.repository import PHOTOS, WITHOUT_PHOTOS

pytestmark = pytest.mark.torchvision
transform = pytest.importorskip(
    "torchvision.models.detection.transform", reason="torchvision not installed"
)

from fcos.preprocessing import PREPROCESSING, Preprocessing  # noqa: E402
from fcos.structures import pad_images  # noqa: E402

RULE = PREPROCESSING["torchvision"]


def theirs(rule: Preprocessing) -> Any:
    return transform.GeneralizedRCNNTransform(
        rule.size, rule.max_size, list(rule.mean), list(rule.std)
    ).eval()


def in_unit_range(image: Image.Image) -> Tensor:
    """As torchvision's `to_tensor`."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)


def noise(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def assert_same(rule: Preprocessing, images: list[Image.Image]) -> None:
    """The padded batch and its sizes, bit by bit."""
    expected, _ = theirs(rule)([in_unit_range(image) for image in images])
    found = pad_images([rule.image(image) for image in images])
    assert [tuple(size) for size in found.sizes.tolist()] == expected.image_sizes
    assert torch.equal(found.tensor, expected.tensors)


@pytest.mark.parametrize(("size", "max_size"), [(800, 1333), (600, 1000)])
def test_sizes(size: int, max_size: int) -> None:
    """On tensors without memory: torchvision's arithmetic alone."""
    rule = RULE._replace(size=size, max_size=max_size)
    with torch.device("meta"):
        for height in range(1, 1501, 47):
            for width in range(1, 1501, 13):
                image = torch.empty(1, height, width)
                try:
                    resized, _ = transform._resize_image_and_masks(image, size, max_size)
                except (RuntimeError, ZeroDivisionError):  # a side becomes 0
                    assert min(rule.resized_size(height, width)) == 1
                else:
                    assert rule.resized_size(height, width) == resized.shape[1:]


@pytest.mark.parametrize(
    "size",
    [(48, 64), (37, 51), (64, 48), (100, 220), (96, 96), (200, 333), (1, 1), (1, 2), (150, 8)],
    ids=lambda size: f"{size[0]}x{size[1]}",
)
def test_one_image(size: tuple[int, int]) -> None:
    """Smaller, larger, cut to the limit, of its size, and of one pixel."""
    assert_same(RULE._replace(size=96, max_size=160), [noise(*size)])


def test_batch() -> None:
    rule = RULE._replace(size=96, max_size=160)
    assert_same(rule, [noise(48, 64), noise(80, 31), noise(200, 200)])


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=WITHOUT_PHOTOS)
def test_photos() -> None:
    paths = sorted((PHOTOS / "val2017").glob("*.jpg"))[:3]
    assert_same(RULE, [Image.open(path).convert("RGB") for path in paths])


def test_boxes() -> None:
    rule = RULE._replace(size=96, max_size=160)
    generator = torch.Generator().manual_seed(0)
    corner, size = torch.rand(2, 50, 2, generator=generator) * 20
    boxes = torch.cat((corner, corner + size), 1)
    labels = torch.zeros(50, dtype=torch.int64)
    image = noise(43, 61)
    images, targets = theirs(rule)([in_unit_range(image)], [{"boxes": boxes, "labels": labels}])
    found = rule.boxes(boxes, (43, 61), images.image_sizes[0])
    assert torch.equal(found, targets[0]["boxes"])
