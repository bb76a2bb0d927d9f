"""CrowdHuman: an .odgt file, a JSON object a line, with the full body of each person."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path, PurePosixPath

from ..errors import UserError, brief
from .annotations import Annotations, Entry, plain_annotation
from .folders import images_by_stem
from .part import Part, Parts
from .progress import say_large
from .refusals import Refusals
from .values import FOUR_NUMBERS, four_numbers

_PERSON = 1
_PREFIX = "annotation_"


def crowdhuman_parts(root: Path) -> Parts:
    """annotation_train.odgt and annotation_val.odgt, with the images in any folder below."""
    files = {file.stem.removeprefix(_PREFIX): file for file in sorted(root.glob("*.odgt"))}
    return {name: partial(read_crowdhuman, file, root, name) for name, file in files.items()}


def read_crowdhuman(file: Path, images: Path, name: str = "") -> Part:
    """Boxes are those of the full body; those to ignore, and masks of crowds, become crowd regions.

    Raises:
        FileNotFoundError: no such file.
        UserError: not such a file; the message has the line, the field and what it must be.
    """
    if not file.is_file():
        raise FileNotFoundError(f"annotation file not found: {file}")
    say_large(file)
    # the images of train come in three archives, so that the folder says nothing
    found = {PurePosixPath(stem).name: path for stem, path in images_by_stem(images).items()}
    entries: list[Entry] = []
    boxes: list[Entry] = []
    seen: set[str] = set()
    refusals = Refusals()
    for position, line in enumerate(file.read_bytes().splitlines(), start=1):
        if line.strip():
            try:
                own_id, own_boxes = _parsed(f"{file}:{position}", line, seen)
            except UserError as error:
                refusals.add(error)
                continue
            entries.append({"id": own_id, "file_name": found.get(own_id, f"{own_id}.jpg")})
            boxes.extend(own_boxes)
    refusals.check()
    entries.sort(key=lambda image: image["id"])
    content = Annotations(entries, [{"id": _PERSON, "name": "person"}], boxes)
    part = Part(name or file.name, "CrowdHuman", file, content, images)
    crowds = sum(annotation["iscrowd"] for annotation in boxes)
    if crowds:
        part = part.noted(
            f"{crowds} boxes to ignore and masks are read as crowd: not trained on, and detections "
            "of them count neither way"
        )
    return part


def _parsed(where: str, line: bytes, seen: set[str]) -> tuple[str, list[Entry]]:
    """The id of an image, which joins those `seen`, and its boxes."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not a JSON object: {error}") from error
    if not isinstance(entry, dict):
        raise UserError(f"{where} must be a JSON object, got {brief(entry)}")
    own_id = entry.get("ID")
    if not isinstance(own_id, str) or not own_id or own_id in seen:
        raise UserError(f"{where}: ID must be text, each once, got {brief(own_id)}")
    seen.add(own_id)
    return own_id, _boxes(where, entry, own_id)


def _boxes(where: str, entry: Entry, image_id: str) -> list[Entry]:
    boxes = entry.get("gtboxes", [])
    if not isinstance(boxes, list):
        raise UserError(f"{where}: gtboxes must be a list, got {brief(boxes)}")
    annotations = []
    for position, item in enumerate(boxes):
        name = f"{where}: gtboxes[{position}]"
        if not isinstance(item, dict) or item.get("tag") not in ("person", "mask"):
            got = brief(item.get("tag") if isinstance(item, dict) else item)
            raise UserError(f"{name}.tag must be 'person' or 'mask', got {got}")
        box = four_numbers(item.get("fbox"))
        if box is None:
            raise UserError(f"{name}.fbox must be {FOUR_NUMBERS}, got {brief(item.get('fbox'))}")
        extra = item.get("extra")
        ignored = isinstance(extra, dict) and extra.get("ignore") == 1
        crowd = ignored or item["tag"] == "mask"
        annotations.append(plain_annotation(image_id, _PERSON, box, crowd=crowd))
    return annotations
