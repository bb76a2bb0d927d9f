"""Image files of every kind: turned right, scaled right, or refused by name."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from fcos.data import CocoDataset
from fcos.data.images import image_size, load_image
from fcos.errors import UserError
from fcos.preprocessing import Preprocessing
from PIL import Image

ORIENTATION = 0x0112
WIDTH, HEIGHT = 30, 20


def _marked() -> np.ndarray:
    """An upright picture whose upper left corner alone is red, its upper right one green."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:6, :6], pixels[:6, -6:] = (255, 0, 0), (0, 255, 0)
    return pixels


def _photo(path: Path, orientation: int) -> None:
    """The marked picture as a camera stores it that was held another way."""
    undo = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: p.transpose(1, 0, 2)[::-1],
        7: lambda p: p.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda p: p.transpose(1, 0, 2)[:, ::-1],
    }
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(np.ascontiguousarray(undo[orientation](_marked()))).save(path, exif=exif)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright(tmp_path: Path, orientation: int, name: str) -> None:
    _photo(tmp_path / name, orientation)
    image = load_image(tmp_path / name)
    assert image.size == image_size(tmp_path / name) == (WIDTH, HEIGHT)
    # JPEG's colours bleed a little
    assert np.abs(np.asarray(image).astype(int) - _marked()).mean() < 10


@pytest.mark.parametrize("orientation", range(2, 9))
def test_photos_as_stored(tmp_path: Path, orientation: int) -> None:
    """A TIFF, which Pillow turns itself, gives the pixels that a PNG gives."""
    for name in ("a.png", "a.tif"):
        _photo(tmp_path / name, orientation)
    with Image.open(tmp_path / "a.png") as image:
        stored = np.asarray(image)
    size = (stored.shape[1], stored.shape[0])
    for name in ("a.png", "a.tif"):
        assert (np.asarray(load_image(tmp_path / name, size)) == stored).all(), name


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_unknown_orientation_asks_for_nothing(
    tmp_path: Path, orientation: int, name: str
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(_marked()).save(tmp_path / name, exif=exif)
    assert load_image(tmp_path / name).size == image_size(tmp_path / name) == (WIDTH, HEIGHT)


def _dataset(
    folder: Path, width: int | None, height: int | None, name: str = "a.png"
) -> CocoDataset:
    image = {"id": 1, "file_name": name, "width": width, "height": height}
    box = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 6, 6]}
    content = {"images": [image], "annotations": [box], "categories": [{"id": 1}]}
    (folder / "a.json").write_text(json.dumps(content))
    return CocoDataset(folder / "a.json", folder, Preprocessing(HEIGHT, WIDTH))


def _red(image: torch.Tensor) -> list[list[int]]:
    """Rows and columns at the edges of the red mark."""
    rows, columns = torch.where((image[0] > 1) & (image[1] < 0))
    return [[int(x.min()), int(x.max())] for x in (rows, columns)]


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (None, None)])
def test_annotations_of_upright_photos(
    tmp_path: Path, size: tuple[int | None, ...], name: str
) -> None:
    _photo(tmp_path / name, 6)
    sample = _dataset(tmp_path, *size, name).sample(0)
    assert sample.original_size == (HEIGHT, WIDTH)
    assert _red(sample.image) == [[0, 5], [0, 5]]  # where the box is


def test_annotations_of_photos_as_stored(tmp_path: Path) -> None:
    _photo(tmp_path / "a.png", 6)
    sample = _dataset(tmp_path, HEIGHT, WIDTH).sample(0)
    assert sample.original_size == (WIDTH, HEIGHT)
    assert _red(sample.image)[0][0] > 0  # not turned: the mark is elsewhere


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_size_that_exif_does_not_explain(tmp_path: Path, orientation: int) -> None:
    _photo(tmp_path / "a.png", orientation)
    stored = "20 x 30" if orientation == 6 else "30 x 20"
    message = f"a.png must have 30 x 21 pixels, as its annotation file says, got {stored}"
    with pytest.raises(UserError, match=message):
        _dataset(tmp_path, 30, 21).sample(0)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_exif_that_cannot_be_read_asks_for_nothing(tmp_path: Path) -> None:
    Image.fromarray(_marked()).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert load_image(tmp_path / "a.jpg").size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm", "a.jp2", "big_endian.tif"])
def test_grey_of_16_bits_is_divided_by_257(tmp_path: Path, name: str) -> None:
    values = (np.arange(256) * 257).astype(np.uint16).reshape(16, 16)
    options = {"big_endian": True} if "endian" in name else {}
    Image.fromarray(values).save(tmp_path / name, **options)
    pixels = np.asarray(load_image(tmp_path / name))
    assert (pixels == np.arange(256).reshape(16, 16, 1)).all()


def test_grey_of_16_bits_is_rounded(tmp_path: Path) -> None:
    values = np.array([[128, 129, 385, 386, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert np.asarray(load_image(tmp_path / "a.png"))[0, :, 0].tolist() == [0, 1, 1, 2, 255]


@pytest.mark.parametrize(
    ("dtype", "mode"), [(np.int32, r"I \(32-bit integers\)"), (np.float32, r"F \(32-bit floats\)")]
)
def test_32_bits_are_refused_by_name(tmp_path: Path, dtype: type, mode: str) -> None:
    Image.fromarray(np.ones((4, 4), dtype)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=f"a.tif must have 8 or 16 bits a channel, got mode {mode}"):
        load_image(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_other_modes_are_read(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new(mode, (8, 8)).save(path)
    assert load_image(path).mode == "RGB"


def test_no_limit_on_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if 8 x 8 were over 179 megapixels, from where on Pillow refuses an image."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 16)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").size == (8, 8)
    assert Image.MAX_IMAGE_PIXELS == 16  # the rest of the program keeps its limit


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about what it finds in the files
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.gif", "a.bmp", "a.webp", "a.jp2"])
def test_broken_files_are_refused_or_read(tmp_path: Path, name: str) -> None:
    """Cut short, or with bytes changed: never another error than that of a user."""
    rng = random.Random(0)
    path = tmp_path / name
    Image.fromarray(_marked()).save(path)
    whole = path.read_bytes()
    refused = 0
    for attempt in range(60):
        content = bytearray(whole)
        for _ in range(4):
            content[rng.randrange(min(200, len(content)))] = rng.randrange(256)
        path.write_bytes(whole[: rng.randrange(len(whole))] if attempt % 2 else content)
        try:
            assert load_image(path).mode == "RGB"
        except UserError as error:
            assert name in str(error)
            refused += 1
    assert refused > 10


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="image not found: .*none.png"):
        load_image(tmp_path / "none.png")
