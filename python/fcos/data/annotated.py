"""Images with their annotations, before any network: found, counted, checked against each other.

Nothing here imports torch, so that what is wrong with data is said in a second.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, NamedTuple

from PIL import Image

from ..errors import UserError, brief
from .annotations import Annotations, Entry
from .image_files import find_files
from .images import image_size, load_image
from .part import Part
from .suspicions import Suspicions

MIN_BOX_SIDE = 1.0  # pixels; COCO holds a few boxes without any area
NOT_LISTED = "of images not listed"
Corners = tuple[float, float, float, float]


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


class AnnotatedImages:
    """A part of a data set whose images are there.

    Classes are the `categories` in the order of their ids. `contents` says what there is to train
    on, `notes` what was read in a way that not everybody would, or looks amiss.

    Args:
        part: as a form of annotations was read. `width` and `height` of an image say whether boxes
            refer to the pixels as stored or turned upright, as EXIF says; without them: upright.
        limit: use only this many images, the first by id.

    Raises:
        FileNotFoundError: images that are listed and not there.
        UserError: no image at all. Without a limit also: annotations of images that are not listed.
    """

    def __init__(self, part: Part, *, limit: int | None = None) -> None:
        if limit is not None and limit < 1:
            raise UserError(f"limit must be a positive number of images, got {limit}")
        self.part = part
        content = part.annotations
        self.categories, self.images = content.categories, content.images[:limit]
        if not self.images:
            raise UserError(f"{part.source} must hold at least one image, got none")
        self.category_ids = tuple(category["id"] for category in self.categories)
        self.class_names = tuple(category["name"] for category in self.categories)
        self._channel = {category: i for i, category in enumerate(self.category_ids)}
        stray = _stray_annotations(content)
        if stray and limit is None:
            raise UserError(f"{part.source}: {_describe(stray, content)}")
        self._annotations: dict[int | str, list[Entry]] = defaultdict(list)
        for annotation in content.annotations:
            self._annotations[annotation["image_id"]].append(annotation)
        self.paths, guesses = find_files(self.images, part.images, part.source)
        suspicions = Suspicions()
        self.contents = self._count(len(stray), suspicions)
        self.notes = (*part.notes, *guesses, *suspicions.sentences())

    def __len__(self) -> int:
        return len(self.images)

    def annotations(self, index: int) -> list[Entry]:
        """Of image `index`, those too that no one trains on."""
        return self._annotations.get(self.images[index]["id"], [])

    def stated_size(self, index: int) -> tuple[int, int] | None:
        """(width, height) that the annotation file states for image `index`."""
        info = self.images[index]
        return (info["width"], info["height"]) if "width" in info else None

    def load(self, index: int) -> Image.Image:
        """Image `index` in RGB, turned as its boxes are.

        Raises:
            UserError: it cannot be read, or has another size than the annotation file says.
        """
        return load_image(self.paths[index], self.stated_size(index))

    def boxes(self, index: int, height: int, width: int) -> tuple[list[Corners], list[int]]:
        """Boxes to train on as x1 y1 x2 y2 in pixels, not clipped, and their class channels."""
        used = [a for a in self.annotations(index) if not why_left_out(a, height, width)]
        corners = []
        for annotation in used:
            x, y, box_width, box_height = annotation["bbox"]
            corners.append((x, y, x + box_width, y + box_height))
        return corners, [self._channel[a["category_id"]] for a in used]

    def ground_truth(self) -> dict[str, Any]:
        """The part as a COCO dictionary for evaluation, crowd regions included.

        The annotations are copies, numbered from 1: pycocotools takes id 0 for "unmatched".
        """
        annotations = [a for index in range(len(self)) for a in self.annotations(index)]
        return {
            "info": {},
            "images": [dict(image) for image in self.images],
            "categories": [dict(category) for category in self.categories],
            "annotations": [dict(a, id=i) for i, a in enumerate(annotations, start=1)],
        }

    def _count(self, stray: int, suspicions: Suspicions) -> Contents:
        """Counts boxes; where the file has no size for them to be clipped to, the image has it."""
        left_out: Counter[str] = Counter()
        boxes = without = 0
        for index, path in enumerate(self.paths):
            own = self.annotations(index)
            used = 0
            if own:
                width, height = self.stated_size(index) or image_size(path)
                reasons = [why_left_out(a, height, width) for a in own]
                used = reasons.count("")
                left_out.update(filter(None, reasons))
                for annotation in own:
                    suspicions.look_at(annotation, width, height)
            boxes += used
            without += not used
        if stray:
            left_out[NOT_LISTED] = stray
        return Contents(len(self), without, boxes, dict(left_out))


def why_left_out(annotation: Entry, height: int, width: int) -> str:
    """Why no one trains on an annotation: "" where it is used."""
    if annotation["iscrowd"]:
        return "crowd"
    x, y, box_width, box_height = annotation["bbox"]
    if x >= width or y >= height or x + box_width <= 0 or y + box_height <= 0:
        return "outside"
    across = min(x + box_width, width) - max(x, 0)
    down = min(y + box_height, height) - max(y, 0)
    return "under a pixel" if min(across, down) < MIN_BOX_SIDE else ""


def _stray_annotations(content: Annotations) -> list[int]:
    """Positions of the annotations whose image is not listed."""
    listed = {image["id"] for image in content.images}
    return [i for i, a in enumerate(content.annotations) if a["image_id"] not in listed]


def _describe(stray: list[int], content: Annotations) -> str:
    """Names the types, as "1" and 1 look alike in many a viewer."""
    wrong, listed = content.annotations[stray[0]]["image_id"], content.images[0]["id"]
    return (
        f"annotations[{stray[0]}].image_id must be the id of one of the images, whose ids are "
        f"{type(listed).__name__}s such as {brief(listed)}, got the {type(wrong).__name__} "
        f"{brief(wrong)}; so do {len(stray)} of {len(content.annotations)} annotations"
    )
