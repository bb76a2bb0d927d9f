"""Pictures: boxes land where they should, in lines and captions that are told apart."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from fcos.pictures.drawing import DrawnBox, class_colour, draw_boxes, grid, side_by_side
from fcos.pictures.gallery import DrawnCategories, draw_detections
from fcos.pictures.outlines import Line
from PIL import Image

LINES: tuple[Line, ...] = get_args(Line)


def test_box_edges_have_the_colour_of_the_class() -> None:
    picture = draw_boxes(Image.new("RGB", (600, 500)), [DrawnBox((100, 200, 300, 400), 3, "x")])
    assert picture.size == (600, 500)
    for point in [(100, 300), (300, 300), (200, 200), (200, 400)]:
        assert picture.getpixel(point) == class_colour(3)
    assert picture.getpixel((200, 300)) == (0, 0, 0)


def test_small_images_are_enlarged_with_their_boxes() -> None:
    picture = draw_boxes(Image.new("RGB", (100, 50)), [DrawnBox((10, 20, 60, 40), 0, "x")])
    assert picture.size == (500, 250)
    assert picture.getpixel((50, 150)) == class_colour(0)


def test_odd_boxes_are_drawn_without_error() -> None:
    image = Image.new("RGB", (500, 500))
    for box in [(-50.0, -50.0, 900.0, 900.0), (9.0, 9.0, 9.0, 9.0), (499.5, 0.0, 500.0, 3.0)]:
        draw_boxes(image, [DrawnBox(box, 1, "a long caption " * 9)])


def test_sheets() -> None:
    row = side_by_side(
        [("left", Image.new("RGB", (20, 30))), ("right", Image.new("RGB", (40, 10)))]
    )
    assert row.width > 60 and row.height > 30
    sheet = grid([row, row, row], columns=2)
    assert sheet.width > 2 * row.width and sheet.height > 2 * row.height


def test_neighbouring_classes_differ_in_colour() -> None:
    assert len({class_colour(label) for label in range(80)}) == 80


def _edge(line: Line, size: int = 400) -> np.ndarray:
    """Which pixels of the upper edge of a red box have its colour."""
    box = DrawnBox((50, 100, 50 + size, 450), 0, "x", line, (255, 0, 0))
    picture = np.asarray(draw_boxes(Image.new("RGB", (600, 500), (0, 0, 255)), [box]))
    return (picture[100, 50 : 51 + size] == (255, 0, 0)).all(-1)


def test_lines_are_told_apart_without_their_colours() -> None:
    """By the lengths of their pieces; the gaps are black, so that they are seen on any image."""
    pieces = {
        line: int(np.diff(_edge(line).astype(int), prepend=0).clip(0).sum()) for line in LINES
    }
    assert pieces["solid"] == pieces["thin"] == 1
    assert 3 * pieces["dashed"] < 2 * pieces["dotted"] and pieces["dashed"] > 10
    assert _edge("dashed").mean() > 0.4


def test_crowds_are_hatched_and_below_others() -> None:
    crowd = DrawnBox((100, 100, 500, 450), 0, "", "hatched", (255, 0, 0))
    picture = draw_boxes(Image.new("RGB", (600, 500)), [crowd])
    inside = np.asarray(picture)[150:400, 150:450, 0] == 255
    assert 0.01 < inside.mean() < 0.1
    own = DrawnBox((200, 200, 300, 300), 0, "", "solid", (0, 255, 0))
    edge = np.asarray(draw_boxes(Image.new("RGB", (600, 500)), [own, crowd]))[200, 200:301]
    assert (edge == (0, 255, 0)).all()


def test_an_outline_hides_nothing_of_a_small_object() -> None:
    image = Image.new("RGB", (1000, 1000), (9, 9, 9))
    picture = draw_boxes(image, [DrawnBox((500, 500, 506, 506), 0, "bird")])
    assert (np.asarray(picture)[501:506, 501:506] == 9).all()


@pytest.mark.parametrize("line", LINES)
def test_boxes_of_any_size_in_every_line(line: Line) -> None:
    for box in [(-50.0, -50.0, 900.0, 900.0), (9.0, 9.0, 9.0, 9.0), (1e9, 0.0, 2e9, 3.0)]:
        draw_boxes(Image.new("RGB", (50, 50)), [DrawnBox(box, 1, "x", line)])


def test_titles_take_as_many_lines_as_they_need() -> None:
    image = Image.new("RGB", (200, 30))
    heights = [side_by_side([("word " * count, image)]).height for count in (1, 9, 30)]
    assert heights[0] < heights[1] < heights[2]


def test_a_category_without_a_name_is_drawn_with_its_id() -> None:
    result = {"category_id": 7, "bbox": [4, 6, 20, 24], "score": 0.9}
    image = Image.new("RGB", (500, 500))
    pictures = [
        draw_detections(image, [result], DrawnCategories([(None, ""), (7, name)]))
        for name in ("", "category 7", "\N{VARIATION SELECTOR-256}\ue000")
    ]
    assert len({picture.tobytes() for picture in pictures}) == 1
