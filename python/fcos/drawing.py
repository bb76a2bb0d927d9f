"""Pictures of detections, alone or beside the ground truth."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

MIN_PICTURE_SIDE = 480  # smaller images are enlarged, so that the captions stay legible
_GAP = 8  # pixels between the panels and around a title
_TITLE_SIZE = 18
_LABEL_SIZE = 13


class DrawnBox(NamedTuple):
    """A box to draw: x1 y1 x2 y2 in pixels of the image, its class channel, its caption."""

    box: tuple[float, float, float, float]
    label: int
    caption: str


def class_colour(label: int) -> tuple[int, int, int]:
    """A bright colour for a class; neighbouring classes differ in hue by the golden angle."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.381966 % 1.0, 0.75, 1.0)
    return int(red * 255), int(green * 255), int(blue * 255)


def caption(name: str, score: float | None = None) -> str:
    return name if score is None else f"{name} {score:.2f}"


def draw_boxes(image: Image.Image, boxes: Sequence[DrawnBox]) -> Image.Image:
    """A copy of an RGB image with boxes and captions.

    An image whose long side is under MIN_PICTURE_SIDE is enlarged by a whole factor.
    """
    factor = max(1, -(-MIN_PICTURE_SIDE // max(image.size)))
    picture = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(picture)
    thickness = max(2, max(picture.size) // 320)
    for drawn in boxes:
        corners = [value * factor for value in drawn.box]
        draw.rectangle(_ordered(corners), outline=class_colour(drawn.label), width=thickness)
    for drawn in boxes:  # captions last: no box crosses one
        _draw_caption(draw, picture.size, drawn, factor)
    return picture


def draw_scaled(image: Image.Image, boxes: Sequence[DrawnBox], side: int) -> Image.Image:
    """An RGB image whose long side is brought to `side` pixels, with boxes, which are in pixels of
    the image as it was."""
    factor = side / max(image.size)
    width, height = (max(1, round(length * factor)) for length in image.size)
    scaled = []
    for drawn in boxes:
        x1, y1, x2, y2 = (value * factor for value in drawn.box)
        scaled.append(drawn._replace(box=(x1, y1, x2, y2)))
    return draw_boxes(image.resize((width, height)), scaled)


def side_by_side(panels: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Pictures in a row, each under its title."""
    title_height = _TITLE_SIZE + _GAP
    width = sum(picture.width for _, picture in panels) + _GAP * (len(panels) - 1)
    height = max(picture.height for _, picture in panels) + title_height
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_TITLE_SIZE)
    left = 0
    for title, picture in panels:
        draw.text((left + _GAP // 2, _GAP // 4), title, fill="black", font=font)
        sheet.paste(picture, (left, title_height))
        left += picture.width + _GAP
    return sheet


def grid(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    """Pictures in rows of `columns`, in cells of the largest one's size."""
    width = max(picture.width for picture in pictures) + _GAP
    height = max(picture.height for picture in pictures) + _GAP
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (width * columns - _GAP, height * rows - _GAP), "white")
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        sheet.paste(picture, (column * width, row * height))
    return sheet


def _ordered(corners: Sequence[float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = corners  # Pillow refuses a rectangle whose corners are swapped
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _draw_caption(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], drawn: DrawnBox, factor: int
) -> None:
    font = ImageFont.load_default(max(_LABEL_SIZE, max(size) // 60))
    left, top, right, bottom = draw.textbbox((0, 0), drawn.caption, font=font)
    width, height = right - left + 4, bottom - top + 4
    x = min(max(0.0, drawn.box[0] * factor), max(0.0, size[0] - width))
    y = drawn.box[1] * factor - height  # above the box, inside it at the upper edge of the image
    if y < 0:
        y = min(drawn.box[1] * factor, size[1] - height)
    draw.rectangle((x, y, x + width, y + height), fill=class_colour(drawn.label))
    draw.text((x + 2 - left, y + 2 - top), drawn.caption, fill="black", font=font)
