"""Annotation files in JSON, read without what no one uses: outlines are most of their bytes.

What is not used is passed over; beyond its quotes and brackets nobody looks at it.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Set
from pathlib import Path
from typing import Any

import msgspec

from ..errors import UserError

_LISTS = ("images", "categories", "annotations")


class PlainAnnotation(msgspec.Struct, gc=False):
    """An annotation whose values are of the types that they should be."""

    image_id: int | str
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float
    iscrowd: int = 0
    attributes: Any = None


_decode_lists = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw] | None).decode
_decode_annotation = msgspec.json.Decoder(PlainAnnotation).decode


def read_json(path: Path) -> Any:
    """What a file holds. In an object, the entries of images, categories and annotations may be
    `msgspec.Raw`, for `decode_annotation` and `value_of`; other fields may be left out.

    Raises:
        UserError: no JSON.
    """
    data = path.read_bytes()
    try:
        fields = _decode_lists(memoryview(data)[len(codecs.BOM_UTF8) * _has_mark(data) :])
        return {name: _decode_list(fields[name]) for name in _LISTS if name in fields}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass  # odd, or none: the reader that takes more says what is wrong
    try:
        return json.loads(data)  # bytes: a byte order mark tells the encoding
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a JSON file: {error}") from error


def value_of(path: object, entry: object) -> object:
    """An entry of `read_json`. UserError: no JSON."""
    if not isinstance(entry, msgspec.Raw):
        return entry
    try:
        return json.loads(bytes(entry))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a JSON file: {error}") from error


def decode_annotation(
    entry: object, categories: Set[int], max_area: float
) -> PlainAnnotation | None:
    """The annotation, where nothing is odd about it."""
    if not isinstance(entry, msgspec.Raw):
        return None
    try:
        found = _decode_annotation(entry)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    _, _, width, height = found.bbox
    valid = (
        found.category_id in categories
        and width >= 0
        and height >= 0
        and 0 <= found.area <= max_area
        and found.iscrowd in (0, 1)
        and found.image_id != ""
    )
    return found if valid else None


def _has_mark(data: bytes) -> bool:
    return data.startswith(codecs.BOM_UTF8)
