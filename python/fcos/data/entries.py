"""Entries of annotation files in COCO format, made regular.

Exporters differ in what they leave out, write as null, or put into quotes. What has one meaning is
read; for the rest a `RefusedField` names the field and what it must be.
"""

from __future__ import annotations

from .columns import Entry
from .values import FOUR_NUMBERS, four_numbers, is_text, number, whole

MAX_AREA = 1e10  # COCO's evaluation passes over what is larger
_WITHOUT_BOX = {"bbox": None, "area": 0.0, "iscrowd": 0}


class RefusedField(Exception):
    """A field of an entry is not what it must be."""

    def __init__(self, field: str, expected: str) -> None:
        self.field, self.expected = field, expected


def regular_category(entry: Entry) -> Entry:
    """`id` an int, `name` a str. Errors: RefusedField"""
    own_id = whole(entry.get("id"))
    if own_id is None:
        raise RefusedField("id", "a whole number")
    name = entry.get("name")
    name = own_id if name is None else name
    if not isinstance(name, str | int | float) or not is_text(str(name)):
        raise RefusedField("name", "text")
    return {**entry, "id": own_id, "name": str(name)}


def regular_image(entry: Entry) -> Entry:
    """`id` an int or a str, `file_name` a str, both sides or none. Errors: RefusedField"""
    name = entry.get("file_name", _name_of_url(entry.get("coco_url")))
    if not isinstance(name, str) or not is_text(name) or not name or "\0" in name:
        raise RefusedField("file_name", "the name of a file")
    checked: Entry = {"id": _id(entry, "id"), "file_name": name}
    for field in ("width", "height"):
        side = entry.get(field)
        if side not in (None, ""):
            checked[field] = whole(side)
            if checked[field] is None or checked[field] < 1:
                raise RefusedField(field, "a positive whole number, or null")
    if ("width" in checked) != ("height" in checked):
        missing = "height" if "width" in checked else "width"
        raise RefusedField(missing, "given where the other side is")
    return checked


def _name_of_url(url: object) -> object:
    """LVIS has no file names: .../train2017/000000391895.jpg is in the folder train2017."""
    return "/".join(url.split("/")[-2:]) if isinstance(url, str) else None


def regular_annotation(entry: Entry, categories: set[int]) -> Entry:
    """As `Annotations.annotations` says, for these ids of categories. Errors: RefusedField"""
    category = whole(entry.get("category_id"))
    if category not in categories:
        raise RefusedField("category_id", "one of the ids in `categories`")
    if entry.get("bbox", 0) in (None, []):  # labelme2coco's lines and points
        return {**entry, "image_id": _id(entry, "image_id"), **_WITHOUT_BOX}
    box = four_numbers(entry.get("bbox"))
    if box is None:
        raise RefusedField("bbox", FOUR_NUMBERS)
    area = entry.get("area")
    if area in (None, ""):
        area = box[2] * box[3]
        if area > MAX_AREA:
            raise RefusedField("bbox", f"of at most {MAX_AREA:g} square pixels, or have an `area`")
    area = number(area)
    if area is None or not 0 <= area <= MAX_AREA:
        raise RefusedField("area", f"a number from 0 to {MAX_AREA:g}, or null")
    crowd = entry.get("iscrowd")
    crowd = 0 if crowd in (None, "", False) else 1 if crowd is True else whole(crowd)
    if crowd not in (0, 1):
        raise RefusedField("iscrowd", "0 or 1, or null")
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
        raise RefusedField(field, "a whole number or a string")
    return parsed
