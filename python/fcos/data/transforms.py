"""Geometry of boxes: flip and clip."""

from __future__ import annotations

import torch
from torch import Tensor


def flip_boxes(boxes: Tensor, width: float) -> Tensor:
    """Mirror boxes [..., 4] in an image of this width: x' = width - x."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack((width - x2, y1, width - x1, y2), dim=-1)


def clip_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """Clip boxes [..., 4] to the image."""
    limit = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), limit)
