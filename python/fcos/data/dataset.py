"""Data sets of annotated images: samples for the network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ..preprocessing import Preprocessing
from .annotated import AnnotatedImages
from .augmentation import AS_IT_IS, View
from .coco import read_coco
from .transforms import clip_boxes, flip_boxes


class Sample(NamedTuple):
    """One image ready for the network.

    Attributes:
        image: normalised float32 [3, H, W].
        boxes: float32 [M, 4], x1 y1 x2 y2 in pixels of `image`.
        labels: int64 [M], class channel.
        image_id: as in the annotation file.
        original_size: (height, width) of the image that the annotations refer to.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    image_id: int | str
    original_size: tuple[int, int]


class DetectionDataset(Dataset[Sample]):
    """Samples of annotated images.

    Crowd regions are left out of the samples (they are background in training) but stay in
    `ground_truth()`, where evaluation ignores detections on them. Images without boxes are kept.

    Args:
        annotated: images and annotations, of whatever form.
        preprocessing: how images and boxes become samples.
    """

    def __init__(
        self, annotated: AnnotatedImages, preprocessing: Preprocessing | None = None
    ) -> None:
        self.annotated = annotated
        self.preprocessing = preprocessing or Preprocessing()
        self.preprocessing.check()
        self.category_ids, self.class_names = annotated.category_ids, annotated.class_names
        self.contents = annotated.contents

    def __len__(self) -> int:
        return len(self.annotated)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index)

    def load(self, index: int) -> Image.Image:
        """See `AnnotatedImages.load`."""
        return self.annotated.load(index)

    def sample(self, index: int, view: View = AS_IT_IS) -> Sample:
        """Image `index` as a view of it asks, resized and normalised."""
        image = self.load(index)
        before = (image.height, image.width)
        boxes, labels = self.boxes(index, *before)
        preprocessing = self.preprocessing
        if view.size is not None:
            preprocessing = preprocessing._replace(size=view.size)
        recolour = None if view.colours is None else view.colours.apply
        pixels = preprocessing.image(image, recolour)
        after = (pixels.shape[1], pixels.shape[2])
        boxes = preprocessing.boxes(boxes, before, after)
        if view.flip:
            pixels = pixels.flip(-1)
            last_pixel = 1 if preprocessing.legacy_boxes else 0
            boxes = flip_boxes(boxes, after[1] - last_pixel)
        return Sample(pixels, boxes, labels, self.annotated.images[index]["id"], before)

    def boxes(self, index: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Boxes float32 [M, 4] in original pixels and labels int64 [M] to train on.

        No crowd regions; clipped to the image; those then under one pixel wide or high are dropped.
        """
        corners, labels = self.annotated.boxes(index, height, width)
        boxes = torch.tensor(corners, dtype=torch.float64).reshape(-1, 4)
        return clip_boxes(boxes, height, width).float(), torch.tensor(labels, dtype=torch.int64)

    def ground_truth(self) -> dict[str, Any]:
        """See `AnnotatedImages.ground_truth`."""
        return self.annotated.ground_truth()

    def summary(self) -> dict[str, int]:
        """Counts and a checksum, by which another process tells whether it has the same data."""
        return {
            "images": len(self),
            "boxes": self.contents.boxes,
            "checksum of images and annotations": self.annotated.checksum(),
        }


class CocoDataset(DetectionDataset):
    """Images and boxes of an annotation file in COCO format.

    Args:
        annotation_file: JSON with images, annotations and categories; annotations without `iscrowd`
            or `area` get 0 and width * height.
        image_folder: where the images' file names lead.
        preprocessing: see `DetectionDataset`.
        limit: use only this many images, the first by id.

    Raises:
        FileNotFoundError: no such file, or images that are listed and not there.
        UserError: not a COCO detection file; the message names what is wrong. Without a limit also:
            annotations of images that are not listed.
    """

    def __init__(
        self,
        annotation_file: str | os.PathLike[str],
        image_folder: str | os.PathLike[str],
        preprocessing: Preprocessing | None = None,
        *,
        limit: int | None = None,
    ) -> None:
        preprocessing = preprocessing or Preprocessing()
        preprocessing.check()  # before reading, which may take long
        part = read_coco(Path(annotation_file), Path(image_folder))
        super().__init__(AnnotatedImages(part, limit=limit), preprocessing)
