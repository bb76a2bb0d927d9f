"""Detection on image files: their objects as JSON, and pictures of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from tqdm import tqdm

from ..data.images import load_image
from ..errors import UserError
from ..files import check_new, check_writable, json_list
from ..interrupts import StopSignals
from ..models import FCOS
from ..pictures.files import plan_pictures, save_picture
from ..pictures.gallery import DrawnCategories, draw_detections
from ..preprocessing import Preprocessing
from .ahead import ahead
from .image_ids import ListedImage
from .inference import Detector, PreparedImage, alike, detect_batch, join

REPORT_NAME = "detections.json"
RESULTS_NAME = "results.json"
Rows = list[dict[str, Any]]  # category_id, bbox, score and category of each detection


class DetectedFiles(NamedTuple):
    """How many images were read, the objects on them, how many were not read."""

    images: int
    objects: int
    failed: int


class ImageFile(NamedTuple):
    """An image file, what is known of it, and where its picture goes, if anywhere."""

    path: Path
    listed: ListedImage
    picture: Path | None


class _Read(NamedTuple):
    """A file as an image and as the network's input, or the error of reading it."""

    file: ImageFile
    image: Image.Image | None = None
    prepared: PreparedImage | None = None
    error: str = ""


def plan_files(
    paths: Sequence[Path],
    listed: Sequence[ListedImage],
    output: str | os.PathLike[str],
    *,
    pictures: bool,
    overwrite: bool,
) -> list[ImageFile]:
    """What `detect_files` takes.

    Args:
        listed: the id that results have for each of the paths; the size that boxes refer to.
        pictures: whether there is to be one of each image.
        overwrite: whether `output` may hold such files already.

    Raises:
        UserError: `output` holds another run, or a picture would take the place of an image.
    """
    root = Path(output)
    planned = plan_pictures(paths, root) if pictures else []
    check_new(root / REPORT_NAME, root / RESULTS_NAME, *planned, overwrite=overwrite)
    places: Sequence[Path | None] = planned if pictures else [None] * len(paths)
    return [ImageFile(*file) for file in zip(paths, listed, places, strict=True)]


def detect_files(
    model: FCOS,
    files: Sequence[ImageFile],
    preprocessing: Preprocessing,
    output: str | os.PathLike[str],
    *,
    min_score: float,
    batch: int = 8,
    workers: int = 2,
    progress: bool = False,
) -> DetectedFiles:
    """Write output/detections.json, output/results.json and the pictures of the files.

    detections.json is a list with an object a file, in order: {"file", "image_id", "picture" where
    there is one, "width", "height", "detections"}, or {"file", "image_id", "error"}. results.json
    is a list of all detections in COCO's result format: image_id, category_id, bbox (x y width
    height), score. Both are also written when a signal or an error stops the work, with the files
    up to there. Sizes and boxes are those of the upright image, or of what `listed` says.

    Args:
        model, preprocessing: see `Detector`.
        files: as from `plan_files`.
        min_score: of the detections in JSON and pictures.
        batch: so many images at most run together.
        workers: threads that read images and draw pictures.

    Raises:
        OSError: `output` cannot be written.
        Interrupted: by SIGINT or SIGTERM.
    """
    root = Path(output)
    check_writable(root)
    work, at_once = _Work(Detector(model, preprocessing), min_score), batch + workers
    images = objects = failed = 0
    with ExitStack() as opened, StopSignals() as stop:
        report = opened.enter_context(json_list(root / REPORT_NAME))
        results = opened.enter_context(json_list(root / RESULTS_NAME))
        pool = opened.enter_context(ThreadPoolExecutor(workers))
        opened.callback(pool.shutdown, cancel_futures=True)  # what an error leaves
        bar = opened.enter_context(tqdm(total=len(files), unit="image", disable=not progress))
        found = work.detect(ahead(pool, work.read, files, at_once), batch, stop)
        for read, rows in ahead(pool, work.draw, found, at_once):
            report(_entry(read, rows))
            for row in rows:
                results(_result(read.file.listed.image_id, row))
            images, objects = images + (not read.error), objects + len(rows)
            failed += bool(read.error)
            if read.error:
                tqdm.write(f"fcos: {read.error}", file=sys.stderr)
            bar.update()
        stop.check()
    return DetectedFiles(images, objects, failed)


class _Work:
    """What is done with each file, one step after the other."""

    def __init__(self, detector: Detector, min_score: float) -> None:
        self.detector = detector
        self.rule, self.min_score = detector.rule(min_score)
        config = detector.config
        names = [config.category_name(channel) for channel in range(config.num_classes)]
        self.categories = DrawnCategories(zip(config.category_ids, names, strict=True))

    def read(self, file: ImageFile) -> _Read:
        try:
            image = load_image(file.path, file.listed.size)
        except (UserError, OSError) as error:
            return _Read(file, error=str(error))
        return _Read(file, image, self.detector.prepare(image))

    def detect(
        self, files: Iterable[_Read], batch: int, stop: StopSignals
    ) -> Iterator[tuple[_Read, Rows]]:
        """Batch by batch, up to a signal."""
        self.detector.model.eval()
        for group in alike(files, batch, size=_padded_size):
            if stop:
                return
            prepared = [read.prepared for read in group if read.prepared is not None]
            if not prepared:
                yield from ((read, []) for read in group)
                continue
            found = detect_batch(
                self.detector.model, *join(prepared), self.rule, min_score=self.min_score
            )
            for read, own in zip(group, found, strict=True):
                rows = zip(own.to_coco(), own.names, strict=True)
                yield read, [{**row, "category": name} for row, name in rows]

    def draw(self, detected: tuple[_Read, Rows]) -> tuple[_Read, Rows]:
        """Write the picture, where there is to be one."""
        read, rows = detected
        if read.image is not None and read.file.picture is not None:
            save_picture(draw_detections(read.image, rows, self.categories), read.file.picture)
        return detected


def _padded_size(read: _Read) -> tuple[int, ...] | None:
    return None if read.prepared is None else read.prepared.padded_size


def _entry(read: _Read, rows: Rows) -> dict[str, Any]:
    """Of the report."""
    entry: dict[str, Any] = {"file": str(read.file.path), "image_id": read.file.listed.image_id}
    if read.image is None:
        return {**entry, "error": read.error}
    if read.file.picture is not None:
        entry["picture"] = read.file.picture.name
    size = {"width": read.image.width, "height": read.image.height}
    return {**entry, **size, "detections": rows}


def _result(image_id: int | str, row: dict[str, Any]) -> dict[str, Any]:
    """In COCO's result format, which has no names."""
    return {"image_id": image_id, **{k: row[k] for k in ("category_id", "bbox", "score")}}
