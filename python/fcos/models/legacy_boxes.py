"""Detections in fcos_core's box convention, where a box names its last pixel: x2 = x1 + width - 1.

To the ops a box ends behind that pixel, x1 + width, when they clip it and measure it for NMS, which
fcos_core does with x2 + 1. Sources: `FCOSPostProcessor`, `BoxList`, `ml_nms` and
`prepare_for_coco_detection` of tianzhi0549/FCOS.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fcos_ops import AssignmentRule, Detections, Level


def with_last_pixel(ltrb: Tensor, level: Level, sizes: Tensor, trained: AssignmentRule) -> Tensor:
    """Distances to the far side of the last pixel, for those that were trained to reach its start.

    A box of a location in the padding may begin behind the image; fcos_core moves it onto the
    image's last pixel, and so is it here, where it would be empty otherwise.

    Args:
        ltrb: [B, 4, H, W], in the unit of `trained`.
        level: the geometry of these locations.
        sizes: int64 [B, 2], (height, width) of the images without padding.
        trained: the assignment of the model.

    Returns:
        [B, 4, H, W] of ltrb's dtype, at least float32.
    """
    unit = level.scale if trained.normalize_ltrb else 1.0
    rows, columns = (
        (torch.arange(count, device=ltrb.device) + trained.location_offset) * stride
        for count, stride in ((level.height, level.stride_y), (level.width, level.stride_x))
    )
    last_row, last_column = (sizes - 1)[..., None].unbind(1)  # [B, 1] each
    dtype = torch.promote_types(ltrb.dtype, torch.float32)
    left, top, right, bottom = ltrb.to(dtype).unbind(1)
    left = torch.maximum(left, ((columns - last_column) / unit)[:, None, :])
    top = torch.maximum(top, ((rows - last_row) / unit)[:, :, None])
    return torch.stack((left, top, right + 1 / unit, bottom + 1 / unit), 1)


def last_pixel_of_original(found: Detections, sizes: Tensor, original_sizes: Tensor) -> Detections:
    """The detections in pixels of the originals with a last pixel of those: fcos_core adds it after
    its boxes were resized, `with_last_pixel` before.

    Args:
        found: boxes in pixels of the original images.
        sizes, original_sizes: int64 [B, 2], (height, width) of the images before padding, and
            before they were resized.
    """
    ratio = (original_sizes / sizes).to(found.boxes.dtype).flip(1)
    there = (found.labels >= 0)[..., None]
    more = torch.where(there, (1 - ratio)[:, None], 0.0)
    corner, end = found.boxes[..., :2], found.boxes[..., 2:] + more
    return found._replace(boxes=torch.cat((corner, end), -1))
