"""Images with their annotations, before any network: found, counted, checked against each other.

Nothing here imports torch, so that what is wrong with data is said in a second.
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UserError, brief
from .columns import BoxColumns, Boxes, Entry, Images, Paths
from .held_out import HeldOut
from .image_files import find_files
from .images import image_size, load_image
from .part import Part
from .progress import say_many
from .suspicions import suspicions

MIN_BOX_SIDE = 1.0  # pixels; COCO holds a few boxes without any area
LEFT_OUT = ("", "crowd", "outside", "under a pixel")  # why no one trains on a box: "" is used
NOT_LISTED, WITHOUT_BOX = "of images not listed", "without a box"
EMPTY = "images without boxes"
_FAR = 2.0**53  # pixels, where no image ends: a side that a file states may be any whole number
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
    on, `notes` what was read in a way that not everybody would, or looks amiss. Images and boxes
    are columns, which processes that load images share.

    Args:
        part: as a form of annotations was read. `width` and `height` of an image say whether boxes
            refer to the pixels as stored or turned upright, as EXIF says; without them: upright.
        limit: use only this many images, the first by id.
        held_out: use only the share of the images that is held out, or the rest.
        drop_empty: of those leave out the ones without a box to train on.

    Raises:
        FileNotFoundError: images that are listed and not there.
        UserError: no image at all. Without a limit also: annotations of images that are not listed.
    """

    def __init__(
        self,
        part: Part,
        *,
        limit: int | None = None,
        held_out: HeldOut | None = None,
        drop_empty: bool = False,
    ) -> None:
        if limit is not None and limit < 1:
            raise UserError(f"limit must be a positive number of images, got {limit}")
        listed, annotations = part.annotations.columns()
        chosen = listed if held_out is None else listed.at(held_out.places(listed))
        self.categories, self.images = part.annotations.categories, chosen[:limit]
        if not self.images:
            raise UserError(f"{part.source} must hold at least one image, got none")
        self.category_ids = tuple(category["id"] for category in self.categories)
        self.class_names = tuple(category["name"] for category in self.categories)
        self._channel = {category: i for i, category in enumerate(self.category_ids)}
        if annotations.unlisted and limit is None:
            raise UserError(f"{part.source}: {_describe(annotations, listed)}")
        self._boxes, self._starts = annotations.by_image()
        paths, guesses = find_files(self.images, part.images, part.source)
        self.paths = Paths(paths)
        self._sizes = self._measured(part)
        elsewhere = {NOT_LISTED: len(annotations.unlisted), WITHOUT_BOX: annotations.without_box}
        self.contents, used, odd = self._count(elsewhere)
        if drop_empty:
            self._keep(np.flatnonzero(used))
        self.notes = (*part.notes, *guesses, *odd)

    def __len__(self) -> int:
        return len(self.images)

    def annotations(self, index: int) -> list[Entry]:
        """Of image `index`, those too that no one trains on."""
        return self._boxes[self._rows(index)]

    def stated_size(self, index: int) -> tuple[int, int] | None:
        """(width, height) that the annotation file states for image `index`."""
        size = self.images.widths[index], self.images.heights[index]
        return size if all(size) else None

    def wide(self) -> NDArray[np.bool_]:
        """Which images are at least as wide as high, as they are used, [N]; where nobody has said
        how large one is, its file is opened. Errors: `image_size`"""
        unknown = np.flatnonzero(self._sizes[0] == 0).tolist()
        say_many(len(unknown), "sizes of images", self.paths[0].parent)
        for index in unknown:
            self._sizes[:, index] = image_size(self.paths[index])
        return self._sizes[0] >= self._sizes[1]

    def load(self, index: int) -> Image.Image:
        """Image `index` in RGB, turned as its boxes are.

        Raises:
            UserError: it cannot be read, or has another size than the annotation file says.
        """
        return load_image(self.paths[index], self.stated_size(index))

    def boxes(self, index: int, height: int, width: int) -> tuple[list[Corners], list[int]]:
        """Boxes to train on as x1 y1 x2 y2 in pixels, not clipped, and their class channels."""
        own = self._boxes.columns.of(self._rows(index))
        used = own.of(np.flatnonzero(why_left_out(own, height, width) == 0))
        corners = [(x1, y1, x2, y2) for x1, y1, x2, y2 in used.corners().T.tolist()]
        ids = self._boxes.category_ids
        return corners, [self._channel[ids[place]] for place in used.categories.tolist()]

    def left_out(self, index: int, height: int, width: int) -> list[str]:
        """Why no one trains on each of `annotations(index)`, of `LEFT_OUT`; "" where one does."""
        own = self._boxes.columns.of(self._rows(index))
        return [LEFT_OUT[reason] for reason in why_left_out(own, height, width).tolist()]

    def _rows(self, index: int) -> slice:
        """Of the boxes of image `index`."""
        place = self.images.places[index]
        return slice(self._starts[place], self._starts[place + 1])

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

    def checksum(self) -> int:
        """Of what the files of annotations say, wherever they and the images lie: CRC-32."""
        images = self.images
        sides = [*images.widths], [*images.heights]
        listed = repr((self.categories, [*images.ids], [*images.names], *sides))
        checksum = zlib.crc32(listed.encode())
        for column in self._boxes.columns:
            checksum = zlib.crc32(np.ascontiguousarray(column).data, checksum)
        return checksum

    def _keep(self, rows: NDArray[np.int64]) -> None:
        """Leave out the images that are not of these rows, all of which have boxes."""
        dropped = len(self) - len(rows)
        self.images, self._sizes = self.images.at(rows), self._sizes[:, rows]
        self.paths = Paths(self.paths[row] for row in rows.tolist())
        left_out = dict(self.contents.left_out)
        if dropped:
            left_out[EMPTY] = dropped
        self.contents = self.contents._replace(images=len(rows), without_boxes=0, left_out=left_out)

    def _measured(self, part: Part) -> NDArray[np.float64]:
        """(width, height) of each image as its boxes refer to it [2, N], where that is stated or
        there are boxes, which must be clipped to it; else 0."""
        sizes = np.zeros((2, len(self)))
        counts = np.diff(self._starts)[self.images.places]
        for index in range(len(self)):
            size = self.stated_size(index) or part.upright_sizes.get(self.images.ids[index])
            if size is None and counts[index]:
                size = image_size(self.paths[index])
            if size is not None:
                sizes[:, index] = min(size[0], _FAR), min(size[1], _FAR)
        return sizes

    def _count(self, elsewhere: dict[str, int]) -> tuple[Contents, NDArray[np.int64], list[str]]:
        """Counts boxes, of each image those to train on, and says what is odd about them.

        elsewhere: more that are left out, by reason.
        """
        images = len(self)
        counts = np.diff(self._starts)[self.images.places]
        rows = np.isin(self._boxes.columns.images, self.images.places)
        own = self._boxes.columns.of(np.flatnonzero(rows))
        image = np.repeat(np.arange(images), counts)
        widths, heights = self._sizes[:, image]
        reasons = why_left_out(own, heights, widths)
        used = np.bincount(image[reasons == 0], minlength=images)
        left_out = {}
        kinds, first, numbers = np.unique(reasons, return_index=True, return_counts=True)
        for place in np.argsort(first):
            if kinds[place]:
                left_out[LEFT_OUT[kinds[place]]] = int(numbers[place])
        left_out |= {reason: count for reason, count in elsewhere.items() if count}
        contents = Contents(images, int((used == 0).sum()), int(used.sum()), left_out)
        return contents, used, suspicions(own, widths, heights)


def why_left_out(
    boxes: BoxColumns, height: float | NDArray[Any], width: float | NDArray[Any]
) -> NDArray[np.int64]:
    """Why no one trains on each of N boxes, places in `LEFT_OUT` [N].

    height, width: of the image, or of the image of each [N].
    """
    x, y, right, bottom = boxes.corners()
    outside = (x >= width) | (y >= height) | (right <= 0) | (bottom <= 0)
    across = np.minimum(right, width) - np.maximum(x, 0)
    down = np.minimum(bottom, height) - np.maximum(y, 0)
    sliver = np.minimum(across, down) < MIN_BOX_SIDE
    return np.select([boxes.crowds, outside, sliver], [1, 2, 3], 0)


def _describe(boxes: Boxes, images: Images) -> str:
    """Names the types, as "1" and 1 look alike in many a viewer."""
    position, wrong = next(iter(boxes.unlisted.items()))
    listed = images.ids[0]
    annotations = len(boxes) + len(boxes.unlisted) + boxes.without_box
    return (
        f"annotations[{position}].image_id must be the id of one of the images, whose ids are "
        f"{type(listed).__name__}s such as {brief(listed)}, got the {type(wrong).__name__} "
        f"{brief(wrong)}; so do {len(boxes.unlisted)} of {annotations} annotations"
    )
