"""YOLO: a text file an image, a line a box: class, then centre and size as shares of the image."""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePath
from typing import NamedTuple

from ..errors import UserError, a_few, brief
from .annotations import Annotations, Entry, plain_annotation
from .folders import read_text
from .images import image_size
from .part import Part, Parts
from .progress import say_many
from .refusals import Refusals
from .values import number, whole
from .yolo_folders import YoloFolders, find_yolo, images_of

_SLACK = 0.01  # shares that tools round beyond an image
_FIELDS = ("x_center", "y_center", "width", "height")


class _Line(NamedTuple):
    """A line of a label file: x1 y1 x2 y2 as shares of the image."""

    category: int
    corners: tuple[float, float, float, float]
    outline: bool


def yolo_parts(root: Path) -> Parts:
    """data.yaml, names beside lists of images, or folders images/ and labels/."""
    found = find_yolo(root)
    if found is None:
        return {}
    return {name: partial(_read, root, found, name) for name in found.places}


def _read(root: Path, found: YoloFolders, name: str) -> Part:
    images = images_of(root, found.places[name])
    say_many(len(images), "label files of the images", root)
    files = {path: _label_file(path) for path in images}
    if images and not any(file.is_file() for file in files.values()):
        raise FileNotFoundError(
            f"no label file for any of {len(images)} images: {files[images[0]]} and so on"
        )
    categories = [{"id": index, "name": text} for index, text in sorted(found.names.items())]
    entries: list[Entry] = []
    boxes: list[Entry] = []
    sizes: dict[int | str, tuple[int, int]] = {}  # upright, as YOLO's own loader has them
    outlines = without = 0
    refusals = Refusals()
    for path, file in files.items():
        own_id = _relative(path, root)
        entries.append({"id": own_id, "file_name": own_id})
        lines = _read_labels(file, found, refusals) if file.is_file() else []
        without += not file.is_file()
        if not lines:
            continue
        width, height = sizes[own_id] = image_size(path)
        for line in lines:
            x1, y1, x2, y2 = line.corners
            box = [x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height]
            boxes.append(plain_annotation(own_id, line.category, box))
            outlines += line.outline
    refusals.check()
    entries.sort(key=lambda image: image["id"])
    content = Annotations(entries, categories, boxes)
    part = Part(name, "YOLO", found.source, content, root, upright_sizes=sizes)
    if outlines:
        part = part.noted(f"{outlines} outlines are read as the upright boxes around them")
    if without:
        part = part.noted(f"{without} of {len(images)} images have no label file: no boxes")
    return part if found.names else _numbered(part)


def _numbered(part: Part) -> Part:
    """Classes by number, as no file has their names: all up to the highest."""
    highest = max((a["category_id"] for a in part.annotations.annotations), default=0)
    categories = [{"id": index, "name": str(index)} for index in range(highest + 1)]
    return part._replace(annotations=part.annotations._replace(categories=categories)).noted(
        "no data.yaml or classes.txt has the names of the classes: they are called by their numbers"
    )


def _label_file(image: Path) -> Path:
    """labels/ in the place of the last images/ that has it as neighbour, else beside the image."""
    parts = image.with_suffix(".txt").parts
    for position in range(len(parts) - 2, -1, -1):
        if parts[position] == "images":
            file = Path(*parts[:position], "labels", *parts[position + 1 :])
            if Path(*parts[:position], "labels").is_dir():
                return file
    return Path(*parts)


def _relative(path: Path, root: Path) -> str:
    """From the root on where it is below; a data.yaml may lead elsewhere."""
    name: PurePath = path.relative_to(root) if root in path.parents else path
    return name.as_posix()


def _read_labels(file: Path, found: YoloFolders, refusals: Refusals) -> list[_Line]:
    lines = []
    for position, line in enumerate(read_text(file).splitlines(), start=1):
        if line.strip():
            try:
                lines.append(_parse(f"{file}:{position}", line.split(), found))
            except UserError as error:
                refusals.add(error)
    return lines


def _parse(where: str, fields: list[str], found: YoloFolders) -> _Line:
    category = whole(fields[0])
    if category is None or category < 0 or (found.names and category not in found.names):
        known = a_few([f"{number} {name}" for number, name in found.names.items()])
        expected = f"one of {known}" if found.names else "a whole number from 0 on"
        raise UserError(f"{where}: class must be {expected}, got {brief(fields[0])}")
    values = [_share(where, position, text) for position, text in enumerate(fields[1:])]
    outline = len(values) >= 6 and len(values) % 2 == 0
    if len(values) != 4 and not outline:
        raise UserError(
            f"{where} must have a class and 4 numbers, or the corners of an outline, "
            f"got {len(fields)} fields"
        )
    if outline:
        x, y = values[::2], values[1::2]
        return _Line(category, (min(x), min(y), max(x), max(y)), True)
    x_center, y_center, width, height = values
    left, top = x_center - width / 2, y_center - height / 2
    return _Line(category, (left, top, left + width, top + height), False)


def _share(where: str, position: int, text: str) -> float:
    value = number(text)
    if value is None or not -_SLACK <= value <= 1 + _SLACK or (position in (2, 3) and value < 0):
        field = _FIELDS[position] if position < len(_FIELDS) else f"field {position + 2}"
        raise UserError(
            f"{where}: {field} must be a share of the image from 0 to 1, got {brief(text)}"
        )
    return value
