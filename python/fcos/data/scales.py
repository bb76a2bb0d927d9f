"""The short sides that a training draws from, as `--scales` spells them."""

from __future__ import annotations

import re

from ..errors import UserError, brief

OFF = "off"
_LARGEST = 100_000  # pixels, as of any side of an image
_ITEM = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")
_EXPECTED = (
    f"{OFF!r}, or rising whole numbers from 1 to {_LARGEST} such as '640,672,704' or '640-800', "
    "which is every one of them"
)


def parse_scales(text: object) -> tuple[int, ...]:
    """The sides in rising order, pixels; none of them where `text` is "off".

    "640-800" is every whole number from 640 to 800, as in fcos_core's 2x recipes;
    "640,672,704,736,768,800" is AdelaiDet's and detectron2's, "640,800" mmdetection's.

    Raises:
        UserError: it is neither.
    """
    if text == OFF:
        return ()
    sides: list[int] = []
    for item in text.split(",") if isinstance(text, str) else [""]:
        found = _ITEM.fullmatch(item.strip())
        least = int(found[1]) if found else 0
        most = int(found[2] or least) if found else 0
        if not (sides[-1] if sides else 0) < least <= most <= _LARGEST:
            raise UserError(f"scales must be {_EXPECTED}, got {brief(text)}")
        sides.extend(range(least, most + 1))
    return tuple(sides)
