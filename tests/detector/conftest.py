"""The data set that most detector tests use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fcos.data import CocoDataset, find_split
from fcos.pictures import fonts
from fcos.preprocessing import Preprocessing

from .helpers import annotation, image_entry, write_dataset


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """The networks here are so small that threads cost more than they bring."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four images: ordinary, grey with a crowd, without boxes, with boxes that need cleaning."""
    images = [
        image_entry(11, 64, 48),
        image_entry(12, 40, 60, mode="L"),
        image_entry(13, 50, 50),
        image_entry(14, 64, 64),
    ]
    annotations = [
        annotation(11, 7, [4, 6, 20, 24], area=300, iscrowd=0),
        annotation(11, 3, [30, 10, 25, 30], area=500, iscrowd=0),
        annotation(12, 40, [5, 5, 30, 40], area=900, iscrowd=0),
        annotation(12, 3, [0, 0, 40, 60], area=2400, iscrowd=1),
        annotation(14, 3, [-10, 50, 30, 30]),
        annotation(14, 3, [20, 20, 0, 10]),
        annotation(14, 7, [63.5, 10, 30, 10]),
        annotation(14, 7, [8, 8, 16, 16]),
    ]
    write_dataset(tmp_path, "train", images, annotations)
    return tmp_path


@pytest.fixture
def dataset(data: Path) -> CocoDataset:
    return CocoDataset(*find_split(data, "train"), Preprocessing(size=64, max_size=96))


@pytest.fixture
def six_images(tmp_path: Path) -> Path:
    """Two of them with boxes: of three processes, one at least has none in a step of six."""
    images = [image_entry(i, 64, 48) for i in range(1, 7)]
    boxes = [annotation(i, 3 + 4 * (i % 2), [4 * i, 6, 20, 24]) for i in (1, 1, 2, 2, 2)]
    write_dataset(tmp_path, "train", images, boxes)
    sizes = [(64, 48), (40, 64), (64, 64), (60, 40), (48, 48), (64, 40), (56, 64)]
    images = [image_entry(i, *size) for i, size in enumerate(sizes, start=11)]
    write_dataset(tmp_path, "val", images, [annotation(i, 3, [8, 8, 20, 20]) for i in (11, 13, 15)])
    return tmp_path


@pytest.fixture
def system_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets the font files that this system seems to have: none, until it is called."""

    def forget() -> None:
        for cached in (fonts._font_file, fonts.can_draw, fonts.lay_out):
            cached.cache_clear()

    def have(*files: Path) -> None:
        monkeypatch.setattr(fonts, "_system_fonts", lambda: list(map(str, files)))
        forget()

    have()
    yield have
    forget()
