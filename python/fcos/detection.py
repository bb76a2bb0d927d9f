"""Detection on image files, and pictures of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from tqdm import tqdm

from .data import DetectionDataset
from .data.images import load_image
from .drawing import DrawnBox, caption, draw_boxes, side_by_side
from .errors import UserError
from .files import atomic_path, check_replaceable, check_writable, write_json
from .inference import Detector
from .interrupts import StopSignals
from .models import FCOS
from .preprocessing import Preprocessing

REPORT_NAME = "detections.json"
_LONGEST_STEM = 240  # bytes


class DetectedFiles(NamedTuple):
    """The JSON file, how many images were read, the objects on them, how many were not read."""

    report: Path
    images: int
    objects: int
    failed: int


def detect_file(
    detector: Detector, path: str | os.PathLike[str], min_score: float
) -> tuple[Image.Image, list[dict[str, Any]]]:
    """An image file, turned upright, and its detections from `min_score` on, best score first.

    Each has category_id, bbox (x y width height, in pixels of the upright image), score, category.

    Raises:
        OSError, UserError: of `load_image`.
    """
    image = load_image(path)
    (found,) = detector(image, min_score=min_score)
    rows = zip(found.to_coco(), found.names, strict=True)
    return image, [{**row, "category": name} for row, name in rows]


def draw_results(
    model: FCOS, image: Image.Image, results: Sequence[dict[str, Any]], min_score: float
) -> Image.Image:
    """The image with the results of at least this score."""
    config = model.config
    drawn = []
    for result in results:
        if result["score"] >= min_score:
            x, y, width, height = result["bbox"]
            channel = config.category_ids.index(result["category_id"])
            text = caption(config.category_name(channel), result["score"])
            drawn.append(DrawnBox((x, y, x + width, y + height), channel, text))
    return draw_boxes(image, drawn[::-1])  # the best on top


def draw_beside_truth(
    model: FCOS,
    dataset: DetectionDataset,
    index: int,
    results: Sequence[dict[str, Any]],
    min_score: float,
) -> Image.Image:
    """Ground truth of image `index` on the left, its detections on the right.

    results: COCO results of the whole data set, as from `detect_dataset`.
    """
    info = dataset.annotated.images[index]
    image = dataset.load(index)
    boxes, labels = dataset.boxes(index, image.height, image.width)
    truth = []
    for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels.tolist(), strict=True):
        truth.append(DrawnBox((x1, y1, x2, y2), label, caption(dataset.class_names[label])))
    own = [result for result in results if result["image_id"] == info["id"]]
    return side_by_side(
        [
            ("ground truth", draw_boxes(image, truth)),
            (f"detections (score >= {min_score:g})", draw_results(model, image, own, min_score)),
        ]
    )


def draw_dataset(
    model: FCOS,
    dataset: DetectionDataset,
    results: Sequence[dict[str, Any]],
    pictures: Sequence[Path],
    *,
    min_score: float,
) -> None:
    """Write a picture for every image of the data set: see `draw_beside_truth`."""
    for index, picture in enumerate(pictures):
        sheet = draw_beside_truth(model, dataset, index, results, min_score)
        with atomic_path(picture) as temporary:
            sheet.save(temporary)


def detect_files(
    model: FCOS,
    paths: Sequence[str | os.PathLike[str]],
    preprocessing: Preprocessing,
    output: str | os.PathLike[str],
    *,
    min_score: float,
    overwrite: bool = False,
    progress: bool = False,
) -> DetectedFiles:
    """Write output/detections.json and a drawn output/<name>.png for each image that can be read.

    The JSON is a list with an object a file, in order: {"file", "picture", "width", "height",
    "detections"}, or {"file", "error"}. It is also written when a signal or an error stops the
    work, with the files up to there. Sizes are those of the upright image.

    Args:
        model, preprocessing: see `Detector`.
        paths: image files.
        min_score: of the detections in JSON and pictures.
        overwrite: whether `output` may hold such files already.

    Raises:
        UserError: `output` holds another run, or a picture would take the place of an image.
        OSError: `output` cannot be written.
        Interrupted: by SIGINT or SIGTERM.
    """
    root = Path(output)
    pictures = plan_pictures(paths, root)
    check_unused([root / REPORT_NAME, *pictures], overwrite=overwrite)
    check_writable(root)
    detector = Detector(model, preprocessing)
    report: list[dict[str, Any]] = []
    try:
        with StopSignals() as stop:
            for path, picture in zip(
                tqdm(paths, unit="image", disable=not progress), pictures, strict=True
            ):
                stop.check()
                try:
                    image, results = detect_file(detector, path, min_score)
                except (UserError, OSError) as error:
                    report.append({"file": str(path), "error": str(error)})
                    tqdm.write(f"fcos: {error}", file=sys.stderr)
                    continue
                with atomic_path(picture) as temporary:
                    draw_results(model, image, results, min_score).save(temporary)
                size = {"width": image.width, "height": image.height}
                entry = {"file": str(path), "picture": picture.name, **size, "detections": results}
                report.append(entry)
    finally:
        write_json(root / REPORT_NAME, report)
    failed = sum("error" in entry for entry in report)
    objects = sum(len(entry.get("detections", ())) for entry in report)
    return DetectedFiles(root / REPORT_NAME, len(report) - failed, objects, failed)


def plan_pictures(
    paths: Sequence[str | os.PathLike[str]], folder: str | os.PathLike[str]
) -> list[Path]:
    """Where the picture of each image goes: its name as .png, numbered if it was there before.

    Raises:
        UserError: a picture would take the place of an image.
    """
    used: set[str] = set()
    pictures = [Path(folder) / f"{_unused(_short(Path(path).stem), used)}.png" for path in paths]
    images = {Path(path).resolve() for path in paths}
    for picture in pictures:
        if picture.resolve() in images:
            raise UserError(f"{folder} must be another folder than that of the image {picture}")
    return pictures


def check_unused(files: Sequence[Path], *, overwrite: bool) -> None:
    """UserError where one of the files to write is there, and may not or cannot be replaced."""
    for path in files:
        check_replaceable(path)
        if path.exists() and not overwrite:
            raise UserError(f"{path} is of another run: add --overwrite or choose another folder")


def _unused(stem: str, used: set[str]) -> str:
    """`stem`, numbered where another image of that name was there before."""
    name, number = stem, 1
    while name in used:
        number += 1
        name = f"{stem}-{number}"
    used.add(name)
    return name


def _short(stem: str) -> str:
    """So much of it that a file system takes it with a number and .png, which is 255 bytes."""
    name = os.fsencode(stem)
    return stem if len(name) <= _LONGEST_STEM else name[:_LONGEST_STEM].decode(errors="ignore")
