"""Datasets in COCO format: instances_*.json beside a folder of images."""

from __future__ import annotations

import json
import math
import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from .transforms import clip_boxes, flip_boxes, load_image, resize, to_tensor

MIN_BOX_SIDE = 1.0  # pixels; COCO holds a few boxes without any area


class Sample(NamedTuple):
    """One image ready for the network.

    Attributes:
        image: normalised float32 [3, H, W].
        boxes: float32 [M, 4], x1 y1 x2 y2 in pixels of `image`.
        labels: int64 [M], class channel.
        image_id: as in the annotation file.
        original_size: (height, width) of the image file.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    image_id: int
    original_size: tuple[int, int]


def find_split(data: str | os.PathLike[str], split: str) -> tuple[Path, Path]:
    """Annotation file and image folder of a split.

    Two layouts are known: COCO's own, annotations/instances_train2017.json + train2017/, and the
    same without the year, annotations/instances_train.json + train/.

    Raises:
        FileNotFoundError: neither is there; the message names the files that were looked for.
    """
    root = Path(data)
    looked = []
    for name in (f"{split}2017", split):
        annotations, images = root / "annotations" / f"instances_{name}.json", root / name
        if annotations.is_file():
            if not images.is_dir():
                raise FileNotFoundError(f"image folder not found: {images}")
            return annotations, images
        looked.append(str(annotations))
    raise FileNotFoundError(f"no annotations for the split {split!r}: no {' and no '.join(looked)}")


class CocoDataset(Dataset[Sample]):
    """Images and boxes of one split.

    Classes are the file's `categories` in the order of their ids. Crowd regions are left out of the
    samples (they are background in training) but stay in `ground_truth()`, where evaluation ignores
    detections on them. Images without boxes are kept.

    Args:
        annotation_file: JSON with images, annotations and categories; annotations without `iscrowd`
            or `area` get 0 and width * height.
        image_folder: where the images' file names lead.
        size, max_size: see `resized_size`.
        limit: use only this many images, the first by id.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a COCO detection file; the message names what is wrong.
    """

    def __init__(
        self,
        annotation_file: str | os.PathLike[str],
        image_folder: str | os.PathLike[str],
        *,
        size: int = 800,
        max_size: int = 1333,
        limit: int | None = None,
    ) -> None:
        if size < 1 or max_size < 1:
            raise ValueError(f"size, max_size: expected positive pixels, got {size}, {max_size}")
        if limit is not None and limit < 1:
            raise ValueError(f"limit: expected a positive number of images, got {limit}")
        self.image_folder = Path(image_folder)
        self.size, self.max_size = size, max_size
        content = _read(Path(annotation_file))
        self.categories = sorted(content["categories"], key=lambda c: c["id"])
        self.images = sorted(content["images"], key=lambda i: i["id"])[:limit]
        if not self.images:
            raise ValueError(f"{annotation_file}: holds no image")
        self.category_ids = tuple(int(c["id"]) for c in self.categories)
        self.class_names = tuple(str(c.get("name", c["id"])) for c in self.categories)
        self._channel = {category: i for i, category in enumerate(self.category_ids)}
        kept = {image["id"] for image in self.images}
        self._annotations: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for annotation in content["annotations"]:
            if annotation["image_id"] in kept:
                checked = _checked(annotation, self._channel, annotation_file)
                self._annotations[checked["image_id"]].append(checked)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index)

    def sample(self, index: int, *, flip: bool = False) -> Sample:
        """Image `index`, resized, mirrored if asked, and normalised."""
        info = self.images[index]
        image = load_image(str(self.image_folder / info["file_name"]))
        width, height = image.size
        boxes, labels = self.boxes(index, height, width)
        image, boxes = resize(image, boxes, self.size, self.max_size)
        if flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            boxes = flip_boxes(boxes, image.width)
        return Sample(to_tensor(image), boxes, labels, info["id"], (height, width))

    def boxes(self, index: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Boxes float32 [M, 4] in original pixels and labels int64 [M] to train on.

        No crowd regions; clipped to the image; those then under one pixel wide or high are dropped.
        """
        annotations = [
            a for a in self._annotations.get(self.images[index]["id"], ()) if not a["iscrowd"]
        ]
        xywh = torch.tensor([a["bbox"] for a in annotations], dtype=torch.float64).reshape(-1, 4)
        labels = torch.tensor(
            [self._channel[a["category_id"]] for a in annotations], dtype=torch.int64
        )
        boxes = clip_boxes(torch.cat((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), 1), height, width)
        large = ((boxes[:, 2:] - boxes[:, :2]) >= MIN_BOX_SIDE).all(1)
        return boxes[large].float(), labels[large]

    def ground_truth(self) -> dict[str, Any]:
        """The split as a COCO dictionary for evaluation, crowd regions included.

        The annotations are copies, numbered from 1: pycocotools takes id 0 for "unmatched".
        """
        annotations = [a for image in self.images for a in self._annotations.get(image["id"], ())]
        return {
            "info": {},
            "images": [dict(image) for image in self.images],
            "categories": [dict(category) for category in self.categories],
            "annotations": [dict(a, id=i) for i, a in enumerate(annotations, start=1)],
        }


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"annotation file not found: {path}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error
    for key, fields in (
        ("categories", ("id",)),
        ("images", ("id", "file_name")),
        ("annotations", ("image_id", "category_id", "bbox")),
    ):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise ValueError(f"{path}: not a COCO detection file: it has no list {key!r}")
        for position, entry in enumerate(entries):
            missing = [f for f in fields if not isinstance(entry, dict) or f not in entry]
            if missing:
                raise ValueError(f"{path}: {key}[{position}] has no {missing[0]!r}")
        ids = [entry["id"] for entry in entries] if key != "annotations" else []
        if len(set(ids)) != len(ids):
            ((repeated, _),) = Counter(ids).most_common(1)
            raise ValueError(f"{path}: {key} with the same id {repeated!r}")
    if not content["categories"]:
        raise ValueError(f"{path}: holds no category")
    return content


def _checked(
    annotation: dict[str, Any], channel: dict[int, int], path: str | os.PathLike[str]
) -> dict[str, Any]:
    """A copy with `iscrowd` and `area` filled in; ValueError where the entry makes no sense."""
    name = f"{path}: annotation of image {annotation['image_id']}"
    if annotation["category_id"] not in channel:
        raise ValueError(f"{name}: category {annotation['category_id']!r} is not in `categories`")
    box = annotation["bbox"]
    if len(box) != 4 or not all(isinstance(v, int | float) and math.isfinite(v) for v in box):
        raise ValueError(f"{name}: bbox: expected four finite numbers, got {box!r}")
    return {"iscrowd": 0, "area": float(box[2]) * float(box[3]), **annotation}
