"""The two containers that travel between data, model and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

PAD_MULTIPLE = 32  # the backbone's coarsest map has stride 32


class ImageBatch(NamedTuple):
    """Normalised images, padded bottom-right with zeros to one common size.

    Attributes:
        tensor: float [B, 3, H, W]; H and W are multiples of 32.
        sizes: int64 [B, 2], the (height, width) of each image before padding.
    """

    tensor: Tensor
    sizes: Tensor

    def to(self, device: torch.device | str) -> ImageBatch:
        return ImageBatch(
            self.tensor.to(device, non_blocking=True), self.sizes.to(device, non_blocking=True)
        )


class GroundTruth(NamedTuple):
    """The boxes of a batch, ragged: image b owns rows offsets[b]:offsets[b + 1].

    Attributes:
        boxes: float32 [M, 4], x1 y1 x2 y2 in pixels of the resized image.
        labels: int64 [M], channel of the class in [0, num_classes).
        offsets: int64 [B + 1].
    """

    boxes: Tensor
    labels: Tensor
    offsets: Tensor

    def to(self, device: torch.device | str) -> GroundTruth:
        return GroundTruth(*(t.to(device, non_blocking=True) for t in self))


def pad_images(images: Sequence[Tensor], multiple: int = PAD_MULTIPLE) -> ImageBatch:
    """Batch images of different sizes.

    Args:
        images: float [3, H, W] tensors, already normalised, so that a zero is the mean colour.
        multiple: height and width of the batch are rounded up to this.

    Raises:
        ValueError: no image, or one that is not [3, H, W].
    """
    if not images:
        raise ValueError("images must hold at least one image, got none")
    for index, image in enumerate(images):
        if image.ndim != 3 or image.shape[0] != 3:
            raise ValueError(f"images[{index}] must be [3, H, W], got {list(image.shape)}")
    sizes = torch.tensor([image.shape[1:] for image in images], dtype=torch.int64)
    height, width = (-(-int(side) // multiple) * multiple for side in sizes.max(0).values)
    batch = images[0].new_zeros((len(images), 3, height, width))
    for row, image in zip(batch, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = image
    return ImageBatch(batch, sizes.to(batch.device))


def join_ground_truth(boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> GroundTruth:
    """Join the boxes [M_b, 4] and labels [M_b] of each image (M_b may be 0) into a ragged batch.

    Raises:
        ValueError: the lists differ in length, or an image's boxes and labels do.
    """
    if len(boxes) != len(labels) or not boxes:
        raise ValueError(
            f"boxes, labels must have one entry an image, got {len(boxes)} and {len(labels)}"
        )
    for index, (own, classes) in enumerate(zip(boxes, labels, strict=True)):
        if own.shape != (len(classes), 4):
            raise ValueError(
                f"boxes[{index}] must be [{len(classes)}, 4] to go with its labels, "
                f"got {list(own.shape)}"
            )
    counts = torch.tensor([0, *(len(own) for own in boxes)], dtype=torch.int64)
    return GroundTruth(
        torch.cat([own.float() for own in boxes]),
        torch.cat([classes.long() for classes in labels]),
        counts.cumsum(0).to(boxes[0].device),
    )
