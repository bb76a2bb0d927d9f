"""Scenes of shapes in COCO format: a data set that needs no download.

Every image shows a few shapes of random class, size, colour and rotation, partly overlapping, on a
noisy background. Nothing but the outline tells the classes apart.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from .errors import UserError
from .files import atomic_path, check_replaceable, write_json

Point = tuple[float, float]

_DESCRIPTION = "fcos scenes"
_BEGINNING = 100  # bytes; the description is in those of every file of scenes
_SUPERSAMPLING = 3  # shapes are drawn on a finer grid and averaged down, for smooth outlines
_MAX_COVERED = 0.5  # of a shape's box by any other box: what is mostly hidden cannot be found


def _polygon(corners: int, start: float = 0.0) -> list[Point]:
    angles = (start + 2 * math.pi * k / corners for k in range(corners))
    return [(math.cos(a), math.sin(a)) for a in angles]


def _star(points: int, inner: float) -> list[Point]:
    outline = _polygon(2 * points, -math.pi / 2)
    return [(x * r, y * r) for k, (x, y) in enumerate(outline) for r in ((1.0, inner)[k % 2],)]


def _cross(arm: float) -> list[Point]:
    a = arm
    return [
        *((-a, -1), (a, -1), (a, -a), (1, -a), (1, a), (a, a)),
        *((a, 1), (-a, 1), (-a, a), (-1, a), (-1, -a), (-a, -a)),
    ]


# outline within the unit circle or square, and how far it may be turned (radians either way)
SHAPES: dict[str, tuple[Callable[[], list[Point]], float]] = {
    "ellipse": (lambda: _polygon(48), 0.5),
    "rectangle": (lambda: [(-1, -1), (1, -1), (1, 1), (-1, 1)], 0.25),
    "triangle": (lambda: _polygon(3, -math.pi / 2), 0.5),
    "star": (lambda: _star(5, 0.45), 0.6),
    "cross": (lambda: _cross(0.35), 0.25),
}
CLASS_NAMES = tuple(SHAPES)


def _outline(
    rng: np.random.Generator, name: str, size: int, min_side: int, max_side: int
) -> list[Point]:
    """A shape's outline in pixels, wholly inside the image."""
    make, turn = SHAPES[name]
    angle = rng.uniform(-turn, turn)
    aspect = math.exp(rng.uniform(-0.2, 0.2))
    cos, sin = math.cos(angle), math.sin(angle)
    turned = [
        (x * aspect * cos - y / aspect * sin, x * aspect * sin + y / aspect * cos)
        for x, y in make()
    ]
    left, top, right, bottom = _bounds(turned)
    # log-uniform: as many small shapes as large ones
    side = math.exp(rng.uniform(math.log(min_side), math.log(max_side)))
    scale = side / max(right - left, bottom - top)
    width, height = (right - left) * scale, (bottom - top) * scale
    x0, y0 = rng.uniform(0, size - width), rng.uniform(0, size - height)
    return [((x - left) * scale + x0, (y - top) * scale + y0) for x, y in turned]


def _bounds(outline: Sequence[Point]) -> tuple[float, float, float, float]:
    xs, ys = zip(*outline, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _covered(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection of two boxes over the area of the smaller."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / smaller


def _background(rng: np.random.Generator, size: int) -> Image.Image:
    """Blurred patches of colour under pixel noise."""
    patches = rng.uniform(60, 195, (5, 5, 3)).astype(np.uint8)
    smooth = Image.fromarray(patches).resize((size, size), Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth, np.float32) + rng.normal(0, 14, (size, size, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _colour(rng: np.random.Generator, ground: np.ndarray) -> tuple[int, int, int]:
    """A colour that differs visibly from the ground colour [3]."""
    while True:
        colour = rng.uniform(0, 255, 3)
        if np.abs(colour - ground).max() > 70:
            return int(colour[0]), int(colour[1]), int(colour[2])


def draw_scene(
    rng: np.random.Generator, size: int, *, max_shapes: int, min_side: int, max_side: int
) -> tuple[Image.Image, list[tuple[int, list[Point]]]]:
    """One image [size x size] and its shapes: (class index, outline in pixels)."""
    image = _background(rng, size)
    shapes: list[tuple[int, list[Point]]] = []
    boxes: list[tuple[float, float, float, float]] = []
    for _ in range(int(rng.integers(1, max_shapes + 1))):
        label = int(rng.integers(len(CLASS_NAMES)))
        outline = _outline(rng, CLASS_NAMES[label], size, min_side, max_side)
        box = _bounds(outline)
        if any(_covered(box, other) > _MAX_COVERED for other in boxes):
            continue
        x, y = (min(size - 1, int((box[i] + box[i + 2]) / 2)) for i in (0, 1))
        colour = _colour(rng, np.asarray(image)[y, x].astype(np.float64))
        _paint(image, outline, colour)
        shapes.append((label, outline))
        boxes.append(box)
    return image, shapes


def _paint(image: Image.Image, outline: Sequence[Point], colour: tuple[int, int, int]) -> None:
    fine = Image.new("L", (image.width * _SUPERSAMPLING, image.height * _SUPERSAMPLING))
    enlarged = [(x * _SUPERSAMPLING, y * _SUPERSAMPLING) for x, y in outline]
    ImageDraw.Draw(fine).polygon(enlarged, fill=255)
    image.paste(colour, mask=fine.resize(image.size, Image.Resampling.BOX))


def _annotation(number: int, image_id: int, label: int, outline: Sequence[Point]) -> dict[str, Any]:
    left, top, right, bottom = _bounds(outline)
    pairs = zip(outline, [*outline[1:], outline[0]], strict=True)
    area = abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs)) / 2
    return {
        "id": number,
        "image_id": image_id,
        "category_id": label + 1,
        "bbox": [round(v, 2) for v in (left, top, right - left, bottom - top)],
        "area": round(area, 2),
        "iscrowd": 0,
        "segmentation": [[round(v, 2) for point in outline for v in point]],
    }


def write_split(
    root: str | os.PathLike[str],
    split: str,
    count: int,
    *,
    size: int,
    seed: int,
    max_shapes: int = 5,
    min_side: int | None = None,
    max_side: int | None = None,
    progress: bool = False,
) -> Path:
    """Write `count` scenes as root/<split>/*.jpg and root/annotations/instances_<split>.json.

    The annotation file comes last and in one piece, so a split that was interrupted does not look
    complete. Image i depends only on (seed, split, i).

    Args:
        size: side of the square images in pixels.
        max_shapes: each image tries 1 to this many shapes.
        min_side, max_side: long side of the shapes in pixels; by default size / 10 and size / 2.

    Returns:
        The annotation file.
    """
    min_side = max(8, size // 10) if min_side is None else min_side
    max_side = size // 2 if max_side is None else max_side
    if count < 1:
        raise UserError(f"count must be a positive number of images, got {count}")
    if not 1 <= min_side <= max_side <= size:
        raise UserError(
            "min_side, max_side must be 1 <= min_side <= max_side <= size, "
            f"got {min_side}, {max_side} and size {size}"
        )
    check_split(root, split, count)
    target, *paths = _split_files(root, split, count)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    bar = tqdm(paths, desc=split, unit="scene", disable=not progress)
    for image_id, path in enumerate(bar, start=1):
        rng = np.random.default_rng([seed, *split.encode(), image_id])
        image, shapes = draw_scene(
            rng, size, max_shapes=max_shapes, min_side=min_side, max_side=max_side
        )
        with atomic_path(path) as temporary:
            image.save(temporary, quality=92, comment=_DESCRIPTION)
        images.append({"id": image_id, "file_name": path.name, "width": size, "height": size})
        for label, outline in shapes:
            annotations.append(_annotation(len(annotations) + 1, image_id, label, outline))
    write_json(
        target,
        {
            "info": {"description": _DESCRIPTION, "seed": seed},
            "images": images,
            "annotations": annotations,
            "categories": [{"id": i + 1, "name": n} for i, n in enumerate(CLASS_NAMES)],
        },
    )
    return target


def check_split(root: str | os.PathLike[str], split: str, count: int) -> None:
    """UserError where a file of the split would take the place of one that is no scene."""
    for path in _split_files(root, split, count):
        check_replaceable(path)
        if path.exists():
            with path.open("rb") as file:
                if _DESCRIPTION.encode() not in file.read(_BEGINNING):
                    raise UserError(
                        f"{path} is of another data set: choose another folder for the scenes"
                    )


def _split_files(root: str | os.PathLike[str], split: str, count: int) -> list[Path]:
    """The annotation file and the images of a split."""
    images = [Path(root) / split / f"{number:06d}.jpg" for number in range(1, count + 1)]
    return [Path(root) / "annotations" / f"instances_{split}.json", *images]


def write_scenes(
    root: str | os.PathLike[str],
    *,
    train: int,
    val: int,
    size: int = 192,
    seed: int = 0,
    progress: bool = False,
) -> None:
    """Write a training and a validation split, or neither; see `write_split`."""
    check_split(root, "train", train)
    check_split(root, "val", val)
    write_split(root, "train", train, size=size, seed=seed, progress=progress)
    write_split(root, "val", val, size=size, seed=seed, progress=progress)
