"""Annotation files in COCO format: every entry is made regular, or refused by its name."""

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
from .entries import MAX_AREA, RefusedField, regular_annotation, regular_category, regular_image
from .refusals import Refusals


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
        return regular_image(entry)

    images = Images.of(_sorted(_each(path, content, "images", image)))
    builder = BoxBuilder(images.ids, [category["id"] for category in categories])
    _add_boxes(builder, path, content, {category["id"] for category in categories})
    return Annotations(images, categories, builder.build(), frozenset(image_fields))


def read_categories(path: str | os.PathLike[str]) -> list[tuple[int, str]]:
    """(id, name) of each category in the order of an annotation file. Errors: `read_annotations`"""
    categories = _categories(path, _read_json(Path(path)))
    return [(category["id"], category["name"]) for category in categories]


def _categories(path: str | os.PathLike[str], content: Entry) -> list[Entry]:
    categories = _each(path, content, "categories", regular_category)
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
                    path,
                    "annotations",
                    position,
                    entry,
                    lambda odd: regular_annotation(odd, categories),
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
    except RefusedField as refused:
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
