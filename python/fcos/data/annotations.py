"""Annotation files in COCO format: every entry is made regular, or refused by its name.

Exporters differ in what they leave out, write as null, or put into quotes. What has one meaning is
read; for the rest a `UserError` names the entry, the field, and what it must be.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError, brief
from .box_builder import BoxBuilder
from .columns import Boxes, Entry, Images
from .decoding import decode_annotation, read_json, value_of
from .refusals import Refusals
from .values import FOUR_NUMBERS, four_numbers, is_text, number, whole

_WITHOUT_BOX = {"bbox": None, "area": 0.0, "iscrowd": 0}
MAX_AREA = 1e10  # COCO's evaluation passes over what is larger


class Annotations(NamedTuple):
    """What an annotation file holds.

    Attributes:
        images: sorted by `id`, an int or a str; `file_name` is a str; `width` and `height` are
            positive ints, or absent together.
        categories: sorted by `id`, an int; `name` is a str.
        annotations: `image_id` as it was (no image may have it); `category_id` of a category;
            `bbox` four floats x y width height, or None; `area` a float; `iscrowd` 0 or 1.
        image_fields: names of all fields that the file's images have.
    """

    images: Sequence[Entry]
    categories: list[Entry]
    annotations: Sequence[Entry]
    image_fields: frozenset[str] = frozenset()

    def columns(self) -> tuple[Images, Boxes]:
        """Images and annotations as columns."""
        images, boxes = self.images, self.annotations
        if not isinstance(images, Images):
            images = Images.of(images)
        if not isinstance(boxes, Boxes):
            category_ids = [category["id"] for category in self.categories]
            builder = BoxBuilder(images.ids, category_ids)
            for entry in boxes:
                builder.add_entry(entry)
            boxes = builder.build()
        return images, boxes


def plain_annotation(
    image_id: str, category_id: int, box: list[float], *, crowd: bool = False
) -> Entry:
    """An entry of `Annotations.annotations` from a form that states no more than this."""
    return {
        "image_id": image_id,
        "category_id": category_id,
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": int(crowd),
    }


class _Refused(Exception):
    def __init__(self, field: str, expected: str) -> None:
        self.field, self.expected = field, expected


def read_annotations(path: str | os.PathLike[str]) -> Annotations:
    """Read an annotation file. `annotations` may be missing, as in COCO's test sets.

    Raises:
        FileNotFoundError: no such file.
        UserError: not such a file, or an entry that makes no sense.
    """
    content = _read_json(Path(path))
    categories = _sorted(_categories(path, content))
    image_fields: set[str] = set()

    def image(entry: Entry) -> Entry:
        image_fields.update(entry)
        return _image(entry)

    images = Images.of(_sorted(_each(path, content, "images", image)))
    builder = BoxBuilder(images.ids, [category["id"] for category in categories])
    _add_boxes(builder, path, content, {category["id"] for category in categories})
    return Annotations(images, categories, builder.build(), frozenset(image_fields))


def read_categories(path: str | os.PathLike[str]) -> list[tuple[int, str]]:
    """(id, name) of each category in the order of an annotation file. Errors: `read_annotations`"""
    categories = _categories(path, _read_json(Path(path)))
    return [(category["id"], category["name"]) for category in categories]


def _categories(path: str | os.PathLike[str], content: Entry) -> list[Entry]:
    categories = _each(path, content, "categories", _category)
    if not categories:
        raise UserError(f"{path} must have at least one category, got none")
    return categories


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"annotation file not found: {path}")
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} must be a COCO detection file, got {brief(content)}")
    if content.get("annotations") is None:
        content["annotations"] = []
    return content


def _add_boxes(
    builder: BoxBuilder, path: str | os.PathLike[str], content: Entry, categories: set[int]
) -> None:
    """The annotations: most of them at once, and odd ones value by value."""
    refusals = Refusals()
    for position, entry in enumerate(_list(path, content, "annotations")):
        plain = decode_annotation(entry, categories, MAX_AREA)
        if plain is not None:
            builder.add(
                plain.image_id,
                plain.category_id,
                plain.bbox,
                plain.area,
                plain.iscrowd,
                plain.attributes,
            )
            continue
        try:
            builder.add_entry(
                _checked(
                    path, "annotations", position, entry, lambda odd: _annotation(odd, categories)
                )
            )
        except UserError as error:
            refusals.add(error)
    refusals.check()


def _each(
    path: str | os.PathLike[str], content: Entry, key: str, check: Callable[[Entry], Entry]
) -> list[Entry]:
    """The images or the categories."""
    refusals = Refusals()
    entries = []
    for position, entry in enumerate(_list(path, content, key)):
        try:
            entries.append(_checked(path, key, position, entry, check))
        except UserError as error:
            refusals.add(error)
    refusals.check()
    _check_ids(path, key, entries)
    return entries


def _list(path: str | os.PathLike[str], content: Entry, key: str) -> list[object]:
    entries = content.get(key)
    if not isinstance(entries, list):
        raise UserError(f"{path} must be a COCO detection file: it has no list {key!r}")
    return entries


def _checked(
    path: str | os.PathLike[str],
    key: str,
    position: int,
    stored: object,
    check: Callable[[Entry], Entry],
) -> Entry:
    entry = value_of(path, stored)
    if not isinstance(entry, dict):
        raise UserError(f"{path}: {key}[{position}] must be an object, got {brief(entry)}")
    try:
        return check(entry)
    except _Refused as refused:
        got = brief(entry[refused.field]) if refused.field in entry else "nothing"
        raise UserError(
            f"{path}: {key}[{position}].{refused.field} must be {refused.expected}, got {got}"
        ) from None


def _check_ids(path: str | os.PathLike[str], key: str, entries: list[Entry]) -> None:
    """One type and no id twice: `1` and `"1"` are different, whoever meant what."""
    ids = [entry["id"] for entry in entries]
    for position, value in enumerate(ids):
        if type(value) is not type(ids[0]):
            raise UserError(
                f"{path}: {key}[{position}].id must be of one type with {key}[0].id, "
                f"{brief(ids[0])}, got {brief(value)}"
            )
    if len(set(ids)) != len(ids):
        ((repeated, _),) = Counter(ids).most_common(1)
        raise UserError(f"{path}: {key} with the same id {brief(repeated)}")


def _sorted(entries: list[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: entry["id"])


def _category(entry: Entry) -> Entry:
    own_id = whole(entry.get("id"))
    if own_id is None:
        raise _Refused("id", "a whole number")
    name = entry.get("name")
    name = own_id if name is None else name
    if not isinstance(name, str | int | float) or not is_text(str(name)):
        raise _Refused("name", "text")
    return {**entry, "id": own_id, "name": str(name)}


def _image(entry: Entry) -> Entry:
    name = entry.get("file_name", _name_of_url(entry.get("coco_url")))
    if not isinstance(name, str) or not is_text(name) or not name or "\0" in name:
        raise _Refused("file_name", "the name of a file")
    checked: Entry = {"id": _id(entry, "id"), "file_name": name}
    for field in ("width", "height"):
        side = entry.get(field)
        if side not in (None, ""):
            checked[field] = whole(side)
            if checked[field] is None or checked[field] < 1:
                raise _Refused(field, "a positive whole number, or null")
    if ("width" in checked) != ("height" in checked):
        missing = "height" if "width" in checked else "width"
        raise _Refused(missing, "given where the other side is")
    return checked


def _name_of_url(url: object) -> object:
    """LVIS has no file names: .../train2017/000000391895.jpg is in the folder train2017."""
    return "/".join(url.split("/")[-2:]) if isinstance(url, str) else None


def _annotation(entry: Entry, categories: set[int]) -> Entry:
    category = whole(entry.get("category_id"))
    if category not in categories:
        raise _Refused("category_id", "one of the ids in `categories`")
    if entry.get("bbox", 0) in (None, []):  # labelme2coco's lines and points
        return {**entry, "image_id": _id(entry, "image_id"), **_WITHOUT_BOX}
    box = four_numbers(entry.get("bbox"))
    if box is None:
        raise _Refused("bbox", FOUR_NUMBERS)
    area = entry.get("area")
    if area in (None, ""):
        area = box[2] * box[3]
        if area > MAX_AREA:
            raise _Refused("bbox", f"of at most {MAX_AREA:g} square pixels, or have an `area`")
    area = number(area)
    if area is None or not 0 <= area <= MAX_AREA:
        raise _Refused("area", f"a number from 0 to {MAX_AREA:g}, or null")
    crowd = entry.get("iscrowd")
    crowd = 0 if crowd in (None, "", False) else 1 if crowd is True else whole(crowd)
    if crowd not in (0, 1):
        raise _Refused("iscrowd", "0 or 1, or null")
    return {
        **entry,
        "image_id": _id(entry, "image_id"),
        "category_id": category,
        "bbox": box,
        "area": area,
        "iscrowd": crowd,
    }


def _id(entry: Entry, field: str) -> int | str:
    value = entry.get(field)
    if isinstance(value, str) and value and is_text(value):
        return value
    parsed = None if isinstance(value, str) else whole(value)
    if parsed is None:
        raise _Refused(field, "a whole number or a string")
    return parsed
