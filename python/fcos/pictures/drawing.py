"""Pictures of boxes with captions."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from .captions import Place, Places
from .fonts import Text, lay_out
from .outlines import Colour, Corners, Line, draw_outline

MIN_PICTURE_SIDE = 480  # smaller images are enlarged, so that the captions stay legible
_COLUMNS = 4  # of a grid
_GAP = 8  # pixels between the panels and around a title
_TITLE_SIZE = 18
_LABEL_SIZE, _SMALL_LABEL_SIZE = 13, 10
_PADDING = 2  # pixels around the text of a caption
_WIDEST_LABEL = 320  # pixels, where it is no share of a large picture


class DrawnBox(NamedTuple):
    """A box to draw.

    Attributes:
        box: x1 y1 x2 y2 in pixels of the image.
        label: class channel, which has a colour.
        caption: a line of text.
        line: how its outline is drawn.
        colour: of outline and caption, instead of that of the class.
    """

    box: Corners
    label: int
    caption: str
    line: Line = "solid"
    colour: Colour | None = None


class _Label(NamedTuple):
    """The caption of a box, and where it stands."""

    text: Text
    place: Place
    colour: Colour


def class_colour(label: int) -> Colour:
    """A bright colour for a class; neighbouring classes differ in hue by the golden angle."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.381966 % 1.0, 0.75, 1.0)
    return int(red * 255), int(green * 255), int(blue * 255)


def caption(name: str, score: float | None = None) -> str:
    return name if score is None else f"{name} {score:.2f}"


def draw_boxes(image: Image.Image, boxes: Sequence[DrawnBox]) -> Image.Image:
    """A copy of an RGB image with boxes and captions.

    An image whose long side is under MIN_PICTURE_SIDE is enlarged by a whole factor. Captions stand
    beside their objects; where there is no room for one there is a number instead, which a column
    at the right explains.
    """
    factor = max(1, -(-MIN_PICTURE_SIDE // max(image.size)))
    picture = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(picture)
    thickness = max(2, max(picture.size) // 320)
    corners = [_visible(drawn.box, factor, picture.size, 4 * thickness) for drawn in boxes]
    pairs = list(zip(boxes, corners, strict=True))
    for drawn, own in sorted(pairs, key=lambda pair: pair[0].line != "hatched"):  # crowds first
        draw_outline(draw, own, drawn.line, _colour(drawn), thickness)
    labels, legend = _place_captions(picture.size, boxes, corners, thickness)
    for label in labels:  # captions last: no box crosses one
        _draw_label(draw, label.place.x, label.place.y, label)
    return _with_legend(picture, legend) if legend else picture


def draw_scaled(image: Image.Image, boxes: Sequence[DrawnBox]) -> Image.Image:
    """An RGB image for a `grid`: its long side is brought to MIN_PICTURE_SIDE pixels. The boxes are
    in pixels of the image as it was."""
    factor = MIN_PICTURE_SIDE / max(image.size)
    width, height = (max(1, round(length * factor)) for length in image.size)
    scaled = []
    for drawn in boxes:
        x1, y1, x2, y2 = (value * factor for value in drawn.box)
        scaled.append(drawn._replace(box=(x1, y1, x2, y2)))
    return draw_boxes(image.resize((width, height)), scaled)


def side_by_side(panels: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Pictures in a row, each under its title, in as many lines as it takes."""
    titles = [_lines(title, picture.width - _GAP) for title, picture in panels]
    line = _TITLE_SIZE + _GAP // 2
    title_height = max(map(len, titles)) * line + _GAP // 2
    width = sum(picture.width for _, picture in panels) + _GAP * (len(panels) - 1)
    height = max(picture.height for _, picture in panels) + title_height
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    left = 0
    for lines, (_, picture) in zip(titles, panels, strict=True):
        for number, text in enumerate(lines):
            text.draw(draw, left + _GAP // 2, _GAP // 2 + number * line, "black")
        sheet.paste(picture, (left, title_height))
        left += picture.width + _GAP
    return sheet


def note(text: str, size: tuple[int, int]) -> Image.Image:
    """A picture of this size that says something in the place of an image."""
    picture = Image.new("RGB", size, "lightgrey")
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(_lines(text, size[0] - 2 * _GAP)):
        line.draw(draw, _GAP, _GAP + number * (_TITLE_SIZE + _GAP // 2), "black")
    return picture


def grid(pictures: Sequence[Image.Image], columns: int = _COLUMNS) -> Image.Image:
    """Pictures in rows of `columns` at most, in cells of the largest one's size."""
    width = max(picture.width for picture in pictures) + _GAP
    height = max(picture.height for picture in pictures) + _GAP
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (width * columns - _GAP, height * rows - _GAP), "white")
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        sheet.paste(picture, (column * width, row * height))
    return sheet


def _colour(drawn: DrawnBox) -> Colour:
    return drawn.colour or class_colour(drawn.label)


def _visible(box: Corners, factor: int, size: tuple[int, int], margin: int) -> Corners:
    """Corners in the picture, cut off `margin` pixels beside it: a file's may be anywhere."""
    x1, x2 = sorted(min(max(x * factor, -margin), size[0] + margin) for x in box[::2])
    y1, y2 = sorted(min(max(y * factor, -margin), size[1] + margin) for y in box[1::2])
    return x1, y1, x2, y2


def _place_captions(
    size: tuple[int, int], boxes: Sequence[DrawnBox], corners: Sequence[Corners], thickness: int
) -> tuple[list[_Label], list[_Label]]:
    """The captions in the picture, and those beside it, in the order of their numbers."""
    if not boxes:
        return [], []
    places = Places(size, np.array(corners), thickness + 1)
    large = max(_LABEL_SIZE, max(size) // 60)
    small = large * _SMALL_LABEL_SIZE // _LABEL_SIZE
    widest = min(size[0], max(_WIDEST_LABEL, size[0] // 3))
    labels: list[_Label] = []
    legend: list[_Label] = []
    # small objects first: a large one has room within it
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in corners]
    for number in sorted(range(len(boxes)), key=areas.__getitem__):
        drawn, (x1, y1, x2, y2) = boxes[number], corners[number]
        short = min(x2 - x1, y2 - y1) < 2 * large
        text = lay_out(drawn.caption, small if short else large, widest)
        label = _placed(places, number, text, _colour(drawn))
        if not label.place.free:
            mark = lay_out(str(len(legend) + 1), small)
            label = _placed(places, number, mark, _colour(drawn))
            explained = lay_out(f"{len(legend) + 1} {drawn.caption}", large, widest)
            legend.append(label._replace(text=explained))
        places.take(label.place, *_padded(label.text))
        labels.append(label)
    return labels, legend


def _placed(places: Places, box: int, text: Text, colour: Colour) -> _Label:
    return _Label(text, places.best(box, *_padded(text)), colour)


def _padded(text: Text) -> tuple[int, int]:
    return text.width + 2 * _PADDING, text.height + 2 * _PADDING


def _draw_label(draw: ImageDraw.ImageDraw, x: float, y: float, label: _Label) -> None:
    width, height = _padded(label.text)
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=label.colour)
    red, green, blue = label.colour
    dark = 0.3 * red + 0.59 * green + 0.11 * blue < 110  # as bright as eyes see the primaries
    label.text.draw(draw, x + _PADDING, y + _PADDING, "white" if dark else "black")


def _with_legend(picture: Image.Image, legend: Sequence[_Label]) -> Image.Image:
    """The picture, and columns at its right with the captions that have numbers in it."""
    row = max(_padded(label.text)[1] for label in legend) + 2
    width = max(_padded(label.text)[0] for label in legend) + _GAP
    rows = max(1, picture.height // row)
    columns = -(-len(legend) // rows)
    sheet = Image.new("RGB", (picture.width + columns * width, picture.height), "white")
    sheet.paste(picture)
    draw = ImageDraw.Draw(sheet)
    for number, label in enumerate(legend):
        column, place = divmod(number, rows)
        _draw_label(draw, picture.width + _GAP // 2 + column * width, place * row, label)
    return sheet


def _lines(title: str, width: int) -> list[Text]:
    """The words of a title in lines of this width."""
    lines = [""]
    for word in title.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lay_out(longer, _TITLE_SIZE).width <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return [lay_out(line, _TITLE_SIZE, width) for line in lines]
