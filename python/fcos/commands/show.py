"""`fcos show`: what there is beside what was detected. Needs no torch without --weights."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..data.annotated import AnnotatedImages
from ..data.annotations import Entry
from ..errors import UserError
from ..files import check_there, check_writable
from ..pictures.gallery import SHEET_NAME, Gallery, plan_gallery
from .classes import find_classes, of_categories

# options that say how --weights detects
_OF_WEIGHTS = ("iou_threshold", "max_detections", "class_agnostic", "size", "max_size", "device")


def run(options: argparse.Namespace) -> int:
    """Returns 1 where some of the images could not be read."""
    annotated: AnnotatedImages = options.found
    _check(options)
    pictures = plan_gallery(annotated, options.output, overwrite=options.overwrite)
    results = None if options.results is None else _read_results(options, annotated)
    unread: dict[int, str] = {}
    truth = annotated.ground_truth()
    if options.weights is not None:
        check_writable(options.output)  # not after hours of detection
        truth, results = _detect(options, truth, unread)
    elif options.classes is not None:
        truth, results = _of_classes(truth, results, options.classes)
    gallery = Gallery(annotated, truth, results, min_score=options.min_score, unread=unread)
    order = gallery.worst_first() if options.sort == "worst" else list(range(len(annotated)))
    order = order[: options.pictures]
    if results is not None:
        total = sum(gallery.errors(index) for index in range(len(annotated)))
        print(f"{len(annotated) - len(unread)} images, {total} errors")
    gallery.write(order, pictures, progress=True)
    if gallery.unread:
        print(f"{len(gallery.unread)} images could not be read: notes are in their places")
    print(f"drew {len(order)} pictures and {SHEET_NAME} into {options.output}")
    return 1 if gallery.unread else 0


def _check(options: argparse.Namespace) -> None:
    """UserError where an option says something about detections that there are not."""
    if options.weights is None:
        for name in _OF_WEIGHTS:
            if getattr(options, name) not in (None, False):
                raise UserError(f"--{name.replace('_', '-')} must come with --weights, got none")
        if options.results is None and options.sort == "worst":
            raise UserError("--sort worst must come with --weights or --results, got neither")


def _detect(
    options: argparse.Namespace, truth: dict[str, Any], unread: dict[int, str]
) -> tuple[dict[str, Any], list[Entry]]:
    """The truth of what --classes names, and detections; `unread` gets what cannot be read."""
    from ..data.loading import Unread
    from ..detection.dataset import detect_dataset  # imports torch
    from .detectors import detector_on_data
    from .devices import choose_device, workers_of

    device = choose_device(options.device)
    model, dataset, chosen = detector_on_data(options, device)
    truth = of_categories(truth, chosen)

    def note(item: Unread) -> None:
        unread[item.key] = str(item.error)
        tqdm.write(f"fcos: {item.error}", file=sys.stderr)

    found = detect_dataset(
        model,
        dataset,
        batch=options.batch,
        workers=workers_of(options, device),
        min_score=options.min_score,
        progress=True,
        on_unread=note,
    )
    return truth, found


def _of_classes(
    truth: dict[str, Any], results: list[Entry] | None, classes: str
) -> tuple[dict[str, Any], list[Entry] | None]:
    known = {category["id"]: (category["id"], category["name"]) for category in truth["categories"]}
    chosen = find_classes(known, classes)
    others = list(known.keys() - set(chosen))  # no set: a file's ids may be anything
    if results is not None:
        results = [result for result in results if result.get("category_id") not in others]
    return of_categories(truth, chosen), results


def _read_results(options: argparse.Namespace, annotated: AnnotatedImages) -> list[Entry]:
    """The detections of a file, with --limit those of the images that are left.

    Raises:
        FileNotFoundError, UserError: there is no such file, or it is none of detections.
    """
    path = Path(options.results)
    check_there(path, "file of results")
    try:
        results = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        results = None
    if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
        expected = "a JSON list of detections, as `fcos eval --output` writes it"
        raise UserError(f"--results must be {expected}, got {path}")
    if getattr(options, "limit", None) is None:
        return results
    own = set(annotated.images.ids)

    def wanted(image_id: object) -> bool:
        # what is no id at all, such as a list, is refused where results are checked
        return not isinstance(image_id, int | str) or image_id in own

    return [one for one in results if wanted(one.get("image_id"))]
