"""What callers give as images: every kind gives the same pixels, all else is refused by place."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fcos.data.pixels import rgb_image
from fcos.detection.inference import Detector
from fcos.errors import UserError
from PIL import Image
from torch import Tensor

from .helpers import decided_model, same_detections

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 48, 3)).astype(np.uint8)
GREY = PIXELS[..., 0]
CHANNELS_FIRST = np.ascontiguousarray(PIXELS.transpose(2, 0, 1))


@pytest.fixture
def detector() -> Detector:
    return Detector(decided_model())


def _file(folder: Path) -> Path:
    Image.fromarray(PIXELS).save(folder / "a.png")
    return folder / "a.png"


COLOURED: dict[str, Any] = {
    "path": _file,
    "text": lambda folder: str(_file(folder)),
    "path-like": lambda folder: list(os.scandir(_file(folder).parent))[0],
    "PIL": lambda _: Image.fromarray(PIXELS),
    "opened": lambda folder: Image.open(_file(folder)),
    "RGBA": lambda _: Image.fromarray(np.dstack([PIXELS, GREY])),
    "uint8": lambda _: PIXELS,
    "read-only": lambda _: _read_only(PIXELS),
    "BGR turned": lambda _: np.ascontiguousarray(PIXELS[..., ::-1])[..., ::-1],
    "float64": lambda _: PIXELS / 255,
    "float32": lambda _: (PIXELS / 255).astype(np.float32),
    "float16": lambda _: (PIXELS / 255).astype(np.float16),
    "tensor": lambda _: torch.from_numpy(CHANNELS_FIRST),
    "strided tensor": lambda _: torch.from_numpy(PIXELS).permute(2, 0, 1),
    "float tensor": lambda _: torch.from_numpy(CHANNELS_FIRST) / 255,
    "with gradient": lambda _: (torch.from_numpy(CHANNELS_FIRST) / 255).requires_grad_(),
    "overshoot": lambda _: torch.from_numpy(CHANNELS_FIRST) / 255 * 1.000001,
}
COLOURLESS: dict[str, Any] = {
    "L": lambda _: Image.fromarray(GREY),
    "LA": lambda _: Image.merge("LA", [Image.fromarray(GREY)] * 2),
    "I;16": lambda _: Image.fromarray(GREY.astype(np.uint16) * 257),
    "P": lambda _: _palette(),
    "P, transparent": lambda _: _palette(transparency=bytes(range(256))),
    "array": lambda _: GREY,
    "array with a channel": lambda _: GREY[..., None],
    "float array": lambda _: GREY / 255,
    "tensor": lambda _: torch.from_numpy(GREY),
    "tensor with a channel": lambda _: torch.from_numpy(GREY)[None],
    "bfloat16, within its precision": lambda _: (torch.from_numpy(GREY) / 255).bfloat16(),
}


def _read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def _palette(**info: Any) -> Image.Image:
    image = Image.frombytes("P", (48, 40), GREY.tobytes())
    image.putpalette([value for value in range(256) for _ in range(3)])
    image.info.update(info)
    return image


@pytest.mark.parametrize("kind", COLOURED)
def test_every_kind_has_the_same_pixels(kind: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = rgb_image(COLOURED[kind](tmp_path))
    assert found.mode == "RGB" and (np.asarray(found) == PIXELS).all()


@pytest.mark.parametrize("kind", COLOURLESS)
def test_every_grey_kind_has_the_same_pixels(kind: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = rgb_image(COLOURLESS[kind](tmp_path))
    # bfloat16 has 8 bits: values up to 1 are exact to 1/512, half a grey level
    limit = 1 if "bfloat16" in kind else 0
    assert found.mode == "RGB"
    assert (np.abs(np.asarray(found).astype(int) - GREY[..., None]) <= limit).all()


def test_every_kind_has_the_same_detections(detector: Detector, tmp_path: Path) -> None:
    found = detector([make(tmp_path) for make in COLOURED.values()])
    for ours in found:
        same_detections(ours, found[0])
    grey = detector([GREY, torch.from_numpy(GREY)[None], Image.fromarray(GREY)])
    for ours in grey:
        same_detections(ours, grey[0])
    assert not torch.equal(grey[0].scores, found[0].scores)


@pytest.mark.parametrize("mode", ["1", "CMYK", "YCbCr", "HSV", "LAB", "RGBX", "RGBa", "PA"])
def test_other_modes_of_pil(detector: Detector, mode: str) -> None:
    assert detector(Image.new(mode, (48, 40)))[0].names


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2000, 3)])
def test_odd_sizes(detector: Detector, size: tuple[int, int]) -> None:
    (found,) = detector(np.full((size[1], size[0], 3), 9, np.uint8))
    assert torch.isfinite(found.boxes).all()
    assert (found.boxes >= 0).all() and (found.boxes <= torch.tensor([*size, *size])).all()


NO_PIXELS = "must have at least one pixel, got"
NO_FLOATS = r"must be floats from 0 to 1 \(divide by 255, or convert to uint8\), got"
NO_DTYPE = "must be of uint8, or floats from 0 to 1, got"
NO_ARRAY = r"must be \[H, W, 3\], \[H, W, 1\] or \[H, W\], got"
NO_TENSOR = r"must be \[3, H, W\], \[1, H, W\] or \[H, W\], got"
NO_IMAGE = "must be a path, a PIL image, a numpy array or a tensor, got"


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (PIXELS.astype(np.float32), ValueError, f"{NO_FLOATS} 0 to 255"),
        (torch.linspace(-1, 2, 48).view(3, 4, 4), ValueError, f"{NO_FLOATS} -1 to 2"),
        (np.full((4, 4, 3), np.nan), ValueError, f"{NO_FLOATS} nan"),
        (np.full((4, 4, 3), np.inf), ValueError, f"{NO_FLOATS} inf"),
        (PIXELS > 9, TypeError, f"{NO_DTYPE} bool"),
        (torch.ones(3, 4, 4, dtype=torch.bool), TypeError, f"{NO_DTYPE} bool"),
        (PIXELS.astype(int), TypeError, f"{NO_DTYPE} int64"),
        (GREY.astype(np.uint16), TypeError, f"{NO_DTYPE} uint16"),
        (PIXELS.astype(object), TypeError, f"{NO_DTYPE} object"),
        (torch.zeros(3, 4, 4, dtype=torch.complex64), TypeError, f"{NO_DTYPE} complex64"),
        (CHANNELS_FIRST, ValueError, rf"{NO_ARRAY} \[3, 40, 48\]"),
        (torch.from_numpy(PIXELS), ValueError, rf"{NO_TENSOR} \[40, 48, 3\]"),
        (PIXELS[None], ValueError, rf"{NO_ARRAY} \[1, 40, 48, 3\]"),
        (torch.zeros(2, 3, 4, 4), ValueError, rf"{NO_TENSOR} \[2, 3, 4, 4\]"),
        (np.dstack([PIXELS, GREY]), ValueError, rf"{NO_ARRAY} \[40, 48, 4\]"),
        (GREY[0], ValueError, rf"{NO_ARRAY} \[48\]"),
        (np.uint8(3), TypeError, f"{NO_IMAGE} uint8"),
        (np.array(3), ValueError, rf"{NO_ARRAY} \[\]"),
        (PIXELS[:0], ValueError, f"{NO_PIXELS} 48 x 0"),
        (torch.zeros(3, 4, 0), ValueError, f"{NO_PIXELS} 0 x 4"),
        (Image.new("RGB", (0, 5)), ValueError, f"{NO_PIXELS} 0 x 5"),
        (None, TypeError, f"{NO_IMAGE} NoneType"),
        ([PIXELS], TypeError, f"{NO_IMAGE} list"),
        (b"\x89PNG", TypeError, f"{NO_IMAGE} bytes"),
        (7, TypeError, f"{NO_IMAGE} int"),
    ],
)
def test_other_images_are_refused_by_place(
    detector: Detector, image: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=rf"^images\[1\] {message}"):
        detector([PIXELS, image])  # type: ignore[list-item]
    if isinstance(image, np.ndarray | Tensor | Image.Image):
        with pytest.raises(error, match=f"^images {message}"):
            detector(image)


def test_pil_images_that_cannot_be_read(detector: Detector, tmp_path: Path) -> None:
    closed = Image.open(_file(tmp_path))
    closed.close()
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    cut = Image.open(tmp_path / "cut.png")
    for image in (closed, cut, Image.new("La", (4, 4))):
        with pytest.raises(UserError, match=r"cannot read the image images\[1\]: "):
            detector([PIXELS, image])
    for image in (Image.new("I", (4, 4)), Image.new("F", (4, 4))):
        with pytest.raises(UserError, match=r"images must have 8 or 16 bits a channel, got mode"):
            detector(image)


def test_files_that_cannot_be_read(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no image")
    with pytest.raises(FileNotFoundError, match="image not found: .*none.png"):
        detector([tmp_path / "none.png"])
    for path in (tmp_path / "a.txt", tmp_path, f"{tmp_path}/\0", f"{tmp_path}/{'a' * 9000}"):
        with pytest.raises(UserError, match=f"cannot read the image {tmp_path}") as caught:
            detector([str(path)])
        assert len(str(caught.value)) < 700


@pytest.mark.parametrize("images", [None, 3, b"a.png", {"a": PIXELS}, {"a.png"}, object()])
def test_other_than_images_is_refused(detector: Detector, images: Any) -> None:
    message = f"images {NO_IMAGE[:-5]}, or a list of them, got {type(images).__name__}"
    with pytest.raises(TypeError, match=message):
        detector(images)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "0.5", [0.5]])
def test_other_scores_are_refused(detector: Detector, value: Any) -> None:
    with pytest.raises(ValueError, match="min_score must be a number from 0 to 1, got "):
        detector(PIXELS, min_score=value)


@pytest.mark.parametrize("value", [0, -1, 1.5, "8", None])
def test_other_batches_are_refused(detector: Detector, value: Any) -> None:
    with pytest.raises(ValueError, match="batch must be a whole number from 1 on, got "):
        detector(PIXELS, batch=value)
