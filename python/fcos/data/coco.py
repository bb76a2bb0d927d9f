"""Datasets in COCO format: instances_*.json beside a folder of images."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import UserError, brief, shorten
from ..preprocessing import Preprocessing
from .annotations import CocoFile, Entry, read_annotations
from .images import image_size, load_image
from .transforms import clip_boxes, flip_boxes

MIN_BOX_SIDE = 1.0  # pixels; COCO holds a few boxes without any area
NOT_LISTED = "of images not listed"


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


class Contents(NamedTuple):
    """What a data set holds: images, those without a box to train on, such boxes, and how many
    annotations are left out, by reason."""

    images: int
    without_boxes: int
    boxes: int
    left_out: dict[str, int]

    def __str__(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        return (
            f"{self.images} images, {self.without_boxes} without boxes, {self.boxes} boxes; "
            f"left out: {reasons or 'none'}"
        )


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
    detections on them. Images without boxes are kept. `contents` says what there is.

    Args:
        annotation_file: JSON with images, annotations and categories; annotations without `iscrowd`
            or `area` get 0 and width * height.
        image_folder: where the images' file names lead. `width` and `height` of an entry say
            whether boxes refer to the pixels as stored or turned upright, as EXIF says; without
            them: upright.
        preprocessing: how images and boxes become samples.
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
        if limit is not None and limit < 1:
            raise UserError(f"limit must be a positive number of images, got {limit}")
        self.image_folder = Path(image_folder)
        self.preprocessing = preprocessing or Preprocessing()
        self.preprocessing.check()
        content = read_annotations(annotation_file)
        self.categories, self.images = content.categories, content.images[:limit]
        if not self.images:
            raise UserError(f"{annotation_file} must hold at least one image, got none")
        self.category_ids = tuple(category["id"] for category in self.categories)
        self.class_names = tuple(category["name"] for category in self.categories)
        self._channel = {category: i for i, category in enumerate(self.category_ids)}
        stray = _stray_annotations(content)
        if stray and limit is None:
            raise UserError(f"{annotation_file}: {_describe(stray, content)}")
        self._annotations: dict[int | str, list[Entry]] = defaultdict(list)
        for annotation in content.annotations:
            self._annotations[annotation["image_id"]].append(annotation)
        self._check_files()
        self.contents = self._count(len(stray))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index)

    def path(self, index: int) -> Path:
        """The file of image `index`."""
        return self.image_folder / self.images[index]["file_name"]

    def load(self, index: int) -> Image.Image:
        """Image `index` in RGB, turned as its boxes are.

        Raises:
            UserError: it cannot be read, or has another size than the annotation file says.
        """
        info = self.images[index]
        size = (info["width"], info["height"]) if "width" in info else None
        return load_image(self.path(index), size)

    def sample(self, index: int, *, flip: bool = False) -> Sample:
        """Image `index`, resized, mirrored if asked, and normalised."""
        image = self.load(index)
        before = (image.height, image.width)
        boxes, labels = self.boxes(index, *before)
        pixels = self.preprocessing.image(image)
        after = (pixels.shape[1], pixels.shape[2])
        boxes = self.preprocessing.boxes(boxes, before, after)
        if flip:
            pixels = pixels.flip(-1)
            last_pixel = 1 if self.preprocessing.legacy_boxes else 0
            boxes = flip_boxes(boxes, after[1] - last_pixel)
        return Sample(pixels, boxes, labels, self.images[index]["id"], before)

    def boxes(self, index: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Boxes float32 [M, 4] in original pixels and labels int64 [M] to train on.

        No crowd regions; clipped to the image; those then under one pixel wide or high are dropped.
        """
        annotations = [a for a in self._of(index) if not _why_left_out(a, height, width)]
        xywh = torch.tensor([a["bbox"] for a in annotations], dtype=torch.float64).reshape(-1, 4)
        labels = torch.tensor(
            [self._channel[a["category_id"]] for a in annotations], dtype=torch.int64
        )
        boxes = clip_boxes(torch.cat((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), 1), height, width)
        return boxes.float(), labels

    def ground_truth(self) -> dict[str, Any]:
        """The split as a COCO dictionary for evaluation, crowd regions included.

        The annotations are copies, numbered from 1: pycocotools takes id 0 for "unmatched".
        """
        annotations = [a for index in range(len(self)) for a in self._of(index)]
        return {
            "info": {},
            "images": [dict(image) for image in self.images],
            "categories": [dict(category) for category in self.categories],
            "annotations": [dict(a, id=i) for i, a in enumerate(annotations, start=1)],
        }

    def _of(self, index: int) -> list[Entry]:
        return self._annotations.get(self.images[index]["id"], [])

    def _check_files(self) -> None:
        missing = [p for p in map(self.path, range(len(self))) if not os.path.isfile(p)]
        if missing:
            name = shorten(str(missing[0]))
            raise FileNotFoundError(
                f"image not found: {name} ({len(missing)} of {len(self)} are missing)"
            )

    def _count(self, stray: int) -> Contents:
        """Counts boxes; where the file has no size for them to be clipped to, the image has it."""
        left_out: Counter[str] = Counter()
        boxes = without = 0
        for index, info in enumerate(self.images):
            own = self._of(index)
            if own and "width" not in info:
                info["width"], info["height"] = image_size(self.path(index))
            reasons = [_why_left_out(a, info["height"], info["width"]) for a in own]
            used = reasons.count("")
            boxes += used
            without += not used
            left_out.update(filter(None, reasons))
        if stray:
            left_out[NOT_LISTED] = stray
        return Contents(len(self), without, boxes, dict(left_out))


def _why_left_out(annotation: Entry, height: int, width: int) -> str:
    """Why no one trains on an annotation: "" where it is used."""
    if annotation["iscrowd"]:
        return "crowd"
    x, y, box_width, box_height = annotation["bbox"]
    if x >= width or y >= height or x + box_width <= 0 or y + box_height <= 0:
        return "outside"
    across = min(x + box_width, width) - max(x, 0)
    down = min(y + box_height, height) - max(y, 0)
    return "under a pixel" if min(across, down) < MIN_BOX_SIDE else ""


def _stray_annotations(content: CocoFile) -> list[int]:
    """Positions of the annotations whose image is not listed."""
    listed = {image["id"] for image in content.images}
    return [i for i, a in enumerate(content.annotations) if a["image_id"] not in listed]


def _describe(stray: list[int], content: CocoFile) -> str:
    """Names the types, as "1" and 1 look alike in many a viewer."""
    wrong, listed = content.annotations[stray[0]]["image_id"], content.images[0]["id"]
    return (
        f"annotations[{stray[0]}].image_id must be the id of one of the images, whose ids are "
        f"{type(listed).__name__}s such as {brief(listed)}, got the {type(wrong).__name__} "
        f"{brief(wrong)}; so do {len(stray)} of {len(content.annotations)} annotations"
    )
