"""One XML file of Pascal VOC: the objects of an image."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from ..errors import UserError, brief
from .values import number, whole

_LARGEST_SIDE = 10**9


class VocObject(NamedTuple):
    """Attributes:
    name: of its class.
    box: x y width height in pixels from 0 on.
    difficult: marked so, or as a crowd: not to be counted.
    rotation: degrees by which the tool turned the box, 0 where it says nothing.
    """

    name: str
    box: list[float]
    difficult: bool
    rotation: float


class VocImage(NamedTuple):
    """`size` is (width, height), None where the file does not say it."""

    file_name: str
    size: tuple[int, int] | None
    objects: list[VocObject]


def read_xml(file: Path) -> VocImage:
    """Raises UserError where it is not such a file: the message has the object and the field."""
    try:
        top = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{file}: not an XML file: {error}") from error
    if top.tag != "annotation":
        raise UserError(f"{file} must have the root <annotation>, got <{top.tag}>")
    width, height = (whole(_text(top, f"size/{side}")) for side in ("width", "height"))
    size = None
    if width and height and 0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE:
        size = width, height
    first_pixel = _first_pixel(top)
    objects = [
        _object(f"{file}: object[{position}]", element, first_pixel)
        for position, element in enumerate(top.findall("object"))
    ]
    return VocImage(_text(top, "filename"), size, objects)


def _first_pixel(top: ElementTree.Element) -> int:
    """VOC and Roboflow count pixels from 1, both corners included; other tools write the corners
    themselves."""
    voc = _text(top, "source/annotation").startswith("PASCAL VOC")
    return int(voc or _text(top, "source/database").startswith("roboflow"))


def _object(where: str, element: ElementTree.Element, first_pixel: int) -> VocObject:
    name = _text(element, "name")
    if not name:
        raise UserError(f"{where}.name must be text, got {brief(element.findtext('name'))}")
    difficult = _text(element, "difficult")
    if difficult not in ("", "0", "1", "Unspecified"):
        raise UserError(f"{where}.difficult must be 0 or 1, got {brief(difficult)}")
    attributes = {
        _text(item, "name"): _text(item, "value")
        for item in element.iterfind("attributes/attribute")
    }
    crowd = attributes.get("is_crowd", "").lower() in ("true", "1")  # datumaro's
    rotation = number(attributes.get("rotation")) or 0.0  # CVAT's
    return VocObject(name, _box(where, element, first_pixel), difficult == "1" or crowd, rotation)


def _box(where: str, element: ElementTree.Element, first_pixel: int) -> list[float]:
    corners = []
    for side in ("xmin", "ymin", "xmax", "ymax"):
        text = element.findtext(f"bndbox/{side}")
        value = number(text)
        if value is None:
            got = "nothing" if text is None else brief(text)
            raise UserError(f"{where}.bndbox.{side} must be a finite number, got {got}")
        corners.append(value)
    x1, y1, x2, y2 = corners
    for axis, least, most in (("x", x1, x2), ("y", y1, y2)):
        if most < least:
            raise UserError(
                f"{where}.bndbox.{axis}max must be at least {axis}min, {least:g}, got {most:g}"
            )
    return [x1 - first_pixel, y1 - first_pixel, x2 - x1 + first_pixel, y2 - y1 + first_pixel]


def _text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()
