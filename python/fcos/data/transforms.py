"""Image and box geometry: resize, flip, normalise."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB in [0, 1]
STD = (0.229, 0.224, 0.225)


def resized_size(height: int, width: int, size: int, max_size: int) -> tuple[int, int]:
    """Height and width whose short side is `size`, unless the long one would exceed `max_size`.

    Sides are rounded to the nearest pixel and are at least 1.
    """
    scale = min(size / min(height, width), max_size / max(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def resize(
    image: Image.Image, boxes: Tensor, size: int, max_size: int
) -> tuple[Image.Image, Tensor]:
    """Resize an image (bilinear, antialiased) and its boxes [M, 4] (x1 y1 x2 y2, pixels)."""
    width, height = image.size
    new_height, new_width = resized_size(height, width, size, max_size)
    if (new_height, new_width) == (height, width):
        return image, boxes
    factor = torch.tensor([new_width / width, new_height / height] * 2, dtype=torch.float32)
    image = image.resize((new_width, new_height), Image.Resampling.BILINEAR)
    return image, boxes * factor


def flip_boxes(boxes: Tensor, width: float) -> Tensor:
    """Mirror boxes [..., 4] in an image of this width: x' = width - x."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack((width - x2, y1, width - x1, y2), dim=-1)


def to_tensor(image: Image.Image) -> Tensor:
    """RGB image -> normalised float32 [3, H, W]."""
    pixels = np.asarray(image, dtype=np.float32) / np.float32(255)
    pixels = (pixels - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def clip_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """Clip boxes [..., 4] to the image."""
    limit = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), limit)
