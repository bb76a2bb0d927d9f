"""`fcos data`: what a data set holds, and a picture of it. Needs no torch."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from ..data.annotated import AnnotatedImages
from ..data.annotations import Entry
from ..data.images import image_size
from ..data.refusals import RefusedEntries
from ..errors import UserError, a_few, shorten
from ..evaluation.coco_checks import check_ground_truth
from ..evaluation.comparison import Judged, Outcome
from ..files import check_new
from ..pictures.drawing import draw_scaled, grid
from ..pictures.files import save_picture
from ..pictures.gallery import DrawnCategories
from .given_data import all_parts

_SMALL, _LARGE = 32**2, 96**2  # square pixels, as COCO's evaluation parts boxes
_MOST_CLASSES = 100
_MOST_LISTED = 20


def run(options: argparse.Namespace) -> int:
    """Print what every part holds, and draw some images of each into --output.

    Returns:
        2 where a part could not be read, whose error is on stderr.
    """
    if options.output:
        if Path(options.output).suffix.lower() != ".png":
            raise UserError(f"--output must be a .png file, got {options.output}")
        check_new(options.output, overwrite=options.overwrite)
    pictures: list[Image.Image] = []
    failed = 0
    for read in all_parts(options):
        try:
            annotated = read()
        except BrokenPipeError:  # of what is printed
            raise
        except (UserError, OSError) as error:
            for line in _refused(error):
                print(f"fcos: error: {line}", file=sys.stderr)
            failed = 2
            continue
        for line in describe(annotated):
            print(f"  {line}", flush=True)
        if options.output:
            pictures += _drawn(annotated, options.pictures)
    if pictures:
        save_picture(grid(pictures), options.output)
        print(f"drew {len(pictures)} images into {options.output}")
    return failed


def describe(annotated: AnnotatedImages) -> Iterator[str]:
    """Lines: sizes of the images, boxes of each class, and what is odd."""
    sizes, odd = _sizes(annotated)
    if sizes:
        smallest, largest = min(sizes, key=_area), max(sizes, key=_area)
        (usual, count), *_ = Counter(sizes).most_common(1)
        yield (
            f"sizes: {_size(smallest)} to {_size(largest)}, most of them {_size(usual)} ({count})"
        )
    truth = annotated.ground_truth()
    yield from _classes(annotated, truth["annotations"])
    yield from odd
    keys = [(a["image_id"], a["category_id"], *a["bbox"]) for a in truth["annotations"]]
    if duplicates := len(keys) - len(set(keys)):
        yield f"odd: {duplicates} boxes are there twice, with the same class and corners"
    try:
        check_ground_truth(truth)
    except UserError as error:
        yield f"odd: {error}"


def draw(annotated: AnnotatedImages, index: int) -> Image.Image:
    """Image `index` with its annotations, crowd regions hatched."""
    image = annotated.load(index)
    categories = DrawnCategories(zip(annotated.category_ids, annotated.class_names, strict=True))
    reasons = annotated.left_out(index, image.height, image.width)
    drawn = []
    for entry, reason in zip(annotated.annotations(index), reasons, strict=True):
        outcome: Outcome = "crowd" if reason == "crowd" else "object"
        if reason != "outside":
            drawn.append(categories.drawn(Judged(entry, outcome)))
    return draw_scaled(image, drawn)


def _drawn(annotated: AnnotatedImages, count: int) -> Iterator[Image.Image]:
    """Some images; one that cannot be read is said on stderr, and left out."""
    for index in _chosen(annotated, count):
        try:
            yield draw(annotated, index)
        except UserError as error:
            print(f"fcos: not drawn: {error}", file=sys.stderr)


def _chosen(annotated: AnnotatedImages, count: int) -> list[int]:
    """Images from all over the part, those with boxes before those without."""
    with_boxes = [i for i in range(len(annotated)) if annotated.annotations(i)]
    source = with_boxes or list(range(len(annotated)))
    step = max(1, len(source) / count)
    return [source[int(i * step)] for i in range(min(count, len(source)))]


def _sizes(annotated: AnnotatedImages) -> tuple[list[tuple[int, int]], list[str]]:
    """(width, height) of every image file, and a line for those that cannot be used."""
    sizes: list[tuple[int, int]] = []
    unreadable: list[str] = []
    different: list[str] = []
    for index, path in enumerate(annotated.paths):
        try:
            size = image_size(path)
        except UserError as error:
            unreadable.append(str(error))
            continue
        stated = annotated.stated_size(index)
        if stated is not None and sorted(stated) != sorted(size):
            different.append(f"{shorten(str(path))}: {_size(size)}, stated {_size(stated)}")
        sizes.append(size)
    odd = _listed("images cannot be read", unreadable)
    return sizes, [*odd, *_listed("images have another size", different)]


def _listed(what: str, found: Sequence[str]) -> list[str]:
    """Lines: how many, and the first of them."""
    if not found:
        return []
    rest = len(found) - _MOST_LISTED
    more = [f"  and {rest} more"] if rest > 0 else []
    return [f"odd: {len(found)} {what}:", *(f"  {line}" for line in found[:_MOST_LISTED]), *more]


def _refused(error: Exception) -> list[str]:
    """Lines: what is wrong with a part, every entry that its file refused for itself."""
    if not isinstance(error, RefusedEntries):
        return [str(error)]
    rest = error.count - len(error.messages)
    return [*error.messages, *([f"and {rest} more entries"] if rest else [])]


def _classes(annotated: AnnotatedImages, annotations: list[Entry]) -> Iterator[str]:
    own = [a for a in annotations if not a["iscrowd"]]
    boxes = Counter(a["category_id"] for a in own)
    small = Counter(a["category_id"] for a in own if a["area"] < _SMALL)
    large = Counter(a["category_id"] for a in own if a["area"] >= _LARGE)
    images = Counter(category for _, category in {(a["image_id"], a["category_id"]) for a in own})
    names = list(zip(annotated.category_ids, annotated.class_names, strict=True))
    width = max(len(name) for _, name in names)
    for category, name in names[:_MOST_CLASSES]:
        count = boxes[category]
        if count:
            yield (
                f"{name:{width}} {count} boxes in {images[category]} images: "
                f"{small[category]} small, {count - small[category] - large[category]} medium, "
                f"{large[category]} large"
            )
    if len(names) > _MOST_CLASSES:
        yield f"and {len(names) - _MOST_CLASSES} more classes"
    unused = [name for category, name in names if not boxes[category]]
    if unused:
        yield f"odd: {len(unused)} classes without a box: {a_few(unused)}"


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
