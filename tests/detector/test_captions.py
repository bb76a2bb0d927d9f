"""Captions: in every language that a font has, beside their objects, upon no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from fcos.evaluation.comparison import Judged
from fcos.pictures import drawing, fonts
from fcos.pictures.captions import Places
from fcos.pictures.drawing import DrawnBox, draw_boxes
from fcos.pictures.fonts import can_draw, lay_out
from fcos.pictures.gallery import DrawnCategories
from matplotlib import font_manager
from PIL import Image, features

DOG_IN_CHINESE, DOG_IN_HINDI, DOG_IN_ARABIC = "狗", "कुत्ता", "كلب كبير"


def _placed(size: tuple[int, int], boxes: list[tuple[float, float, float, float]]) -> np.ndarray:
    """Rectangles [N, 4] of captions of 60 x 14 pixels that are in nobody's way."""
    places = Places(size, np.array(boxes, np.float64), 3)
    found = []
    for number in range(len(boxes)):
        place = places.best(number, 60, 14)
        if place.free:
            places.take(place, 60, 14)
            found.append([place.x, place.y, place.x + 60, place.y + 14])
    return np.array(found)


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    ends = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    return float(np.clip(ends, 0, None).prod())


def test_a_caption_stands_above_its_box_or_where_there_is_room() -> None:
    middle, top, whole = (200, 200, 300, 300), (200, 2, 300, 90), (0, 0, 640, 480)
    assert _placed((640, 480), [middle]).tolist() == [[200, 183, 260, 197]]
    ((_, y, _, _),) = _placed((640, 480), [top])
    assert y == 93  # below
    assert _placed((640, 480), [whole]).tolist() == [[0, 0, 60, 14]]  # within
    ((x, _, _, _),) = _placed((640, 480), [(630, 100, 639, 109)])
    assert x + 60 <= 640


def test_captions_hide_neither_small_objects_nor_each_other() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 460, (40, 2)) * (1.3, 1)
    boxes = np.concatenate((corners, corners + rng.uniform(6, 16, (40, 2))), axis=1)
    captions = _placed((640, 480), [tuple(box) for box in boxes])
    assert len(captions) > 30
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    for number, rect in enumerate(captions):
        hidden = [_overlap(rect, box) / area for box, area in zip(boxes, areas, strict=True)]
        assert max(hidden) <= 0.3
        upon = [_overlap(rect, other) for other in captions[number + 1 :]]
        assert not upon or max(upon) <= 0.075 * 60 * 14  # cost 0.3 of 4


def test_what_finds_no_room_is_explained_beside_the_picture() -> None:
    image = Image.new("RGB", (640, 480))
    few = [DrawnBox((300, 200, 312, 212), 0, "bottle of wine")]
    many = [DrawnBox((300 + i, 200 + i, 312 + i, 212 + i), 0, "bottle of wine") for i in range(20)]
    assert draw_boxes(image, few).width == 640
    beside = np.asarray(draw_boxes(image, many))[:, 640:]
    rows = (beside != 255).any((1, 2))
    explained = int(np.diff(rows.astype(int), prepend=0).clip(0).sum())
    assert 10 <= explained < 20


def test_a_legend_of_many_has_several_columns() -> None:
    boxes = [DrawnBox((300, 200, 312, 212), 0, "bottle")] * 100
    one, three = (draw_boxes(Image.new("RGB", (640, 480)), boxes[:n]).width for n in (20, 70))
    assert three - 640 > 2 * (one - 640)


def test_small_objects_have_small_captions() -> None:
    sizes = []
    for side in (12, 200):
        (label,), legend = drawing._place_captions(
            (640, 480), [DrawnBox((0, 0, 9, 9), 0, "dog")], [(99, 99, 99 + side, 99 + side)], 2
        )
        assert not legend
        sizes.append(label.text.height)
    assert sizes[0] < sizes[1]


def test_long_captions_are_cut() -> None:
    text = lay_out("a long caption " * 20, 13, 200)
    assert 150 < text.width <= 200 and text.runs[-1][0].endswith("...")
    assert lay_out("short", 13, 200).runs[0][0] == "short"
    assert lay_out("\N{SNOWMAN}" * 90, 13, 5).width <= 5


def test_without_fonts_names_that_none_has_are_ids(system_fonts: Callable[..., None]) -> None:
    for name in ("chien", "Škoda", "ete" + "\N{COMBINING ACUTE ACCENT}", "собака", "σκύλος"):
        assert can_draw(name), name
    for name in (DOG_IN_CHINESE, DOG_IN_HINDI, "", " ", "a\x00b", "\ue000"):
        assert not can_draw(name), name


def test_right_to_left_and_joined_letters_need_raqm(
    system_fonts: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert can_draw(DOG_IN_ARABIC) == features.check("raqm")
    fonts.can_draw.cache_clear()
    monkeypatch.setattr(features, "check", lambda name: False)
    assert not can_draw(DOG_IN_ARABIC) and not can_draw("x\N{COMBINING RING ABOVE}")
    assert can_draw("e\N{COMBINING ACUTE ACCENT}")  # which is one character, too


@pytest.mark.skipif(
    not features.check("raqm"),
    reason="this Pillow was built without libraqm, which joins letters; PyPI's wheels have it",
)
def test_arabic_letters_are_joined() -> None:
    """Alone, letters are wider than those that are joined within a word."""
    alone = sum(lay_out(letter, 40).width for letter in "كلب")
    assert lay_out("كلب", 40).width < 0.9 * alone


@pytest.mark.parametrize(
    ("file", "name", "runs"),
    [
        ("STIXGeneral.ttf", "\N{LATIN SMALL LETTER D WITH PALATAL HOOK}og", 1),
        ("STIXSizOneSymReg.ttf", "\N{SUMMATION TOP}", 2),  # a font without digits
    ],
)
def test_a_font_of_the_system_is_found(
    system_fonts: Callable[..., None],
    tmp_path: Path,
    file: str,
    name: str,
    runs: int,
) -> None:
    """Two of matplotlib's stand for those of another language; damaged files are passed over."""
    assert not can_draw(name)
    font = Path(matplotlib.get_data_path(), "fonts", "ttf", file)
    (tmp_path / "damaged.ttf").write_bytes(font.read_bytes()[:100])
    (tmp_path / "text.ttf").write_text("no font")
    system_fonts(tmp_path / "damaged.ttf", tmp_path / "text.ttf", font)
    assert can_draw(name) and not can_draw(DOG_IN_CHINESE)
    text = lay_out(f"{name} 0.83", 13)
    assert len(text.runs) == runs and "".join(piece for piece, *_ in text.runs) == f"{name} 0.83"
    assert text.runs[0][1].path == str(font)
    judged = Judged({"category_id": 7, "bbox": [0.0, 0.0, 9.0, 9.0]}, "object")
    assert DrawnCategories([(7, name)]).drawn(judged).caption == name


def test_plain_fonts_of_the_system_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    files = ["/a/NotoBold.ttf", "/b/NotoSansMono-Regular.ttf", "/c/LastResort.otf", "/d/Noto.ttc"]
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: files)
    fonts._system_fonts.cache_clear()
    assert [Path(file).parts[1] for file in fonts._system_fonts()] == ["d", "a", "b"]
    fonts._system_fonts.cache_clear()
