"""Image files: decoded to RGB, turned the way that their boxes or their viewer mean."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image

from ..errors import UserError, shorten

_Path = str | os.PathLike[str]

# what EXIF asks a viewer to do; an orientation of 1, or any that is not here, asks for nothing
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNS_OF_AXES = range(5, 9)  # width and height change places
_UNDONE_BY = {6: _TURNS[8], 8: _TURNS[6]}  # the others undo themselves

_limit_lock = threading.Lock()


def load_image(path: _Path, size: tuple[int, int] | None = None) -> Image.Image:
    """An image file as RGB.

    Grey values of 16 bits are divided by 257, so that 65535 becomes 255; alpha is dropped.

    Args:
        path: the file.
        size: (width, height) of the image that boxes refer to. Where the pixels as stored have that
            size, they stay so; else they are turned upright, as EXIF says. None: upright.

    Raises:
        FileNotFoundError: no such file.
        UserError: not an image that Pillow can read; one of 32 bits a channel; an image that has
            another size either way.
    """
    with _opened(path) as image:
        turn = _orientation(image)
        image.load()
        rgb = _to_rgb(image, path)
        if turn in _TURNS and _orientation(image) != turn:  # Pillow turns a TIFF itself
            rgb = rgb.transpose(_UNDONE_BY.get(turn, _TURNS[turn]))
    stored = rgb.size
    if turn in _TURNS and stored != size:
        rgb = rgb.transpose(_TURNS[turn])
    if size is not None and rgb.size != size:
        raise UserError(
            f"{path} must have {size[0]} x {size[1]} pixels, as its annotation file says, "
            f"got {stored[0]} x {stored[1]}"
        )
    return rgb


def image_size(path: _Path) -> tuple[int, int]:
    """(width, height) of an image file when it is upright. Errors: `load_image`"""
    with _opened(path) as image:
        if image.format == "TIFF":  # Pillow turns it itself, some versions when it is loaded only
            image.load()
        width, height = image.size
        return (height, width) if _orientation(image) in _TURNS_OF_AXES else (width, height)


def convert_image(image: Image.Image, name: str) -> Image.Image:
    """A PIL image as RGB, as `load_image` does, but turned only where Pillow does so itself.

    Raises:
        UserError: it cannot be decoded, or has 32 bits a channel; `name` says which.
    """
    with _decoding(name):
        image.load()
        return _to_rgb(image, name)


@contextlib.contextmanager
def _opened(path: _Path) -> Iterator[Image.Image]:
    with _decoding(path):
        with _without_size_limit():
            image = Image.open(path)
        with image:
            yield image


@contextlib.contextmanager
def _decoding(name: _Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise FileNotFoundError(f"image not found: {shorten(str(name))}") from None
    except Exception as error:  # a decoder raises whatever foreign bytes make it stumble on
        reason = shorten(str(error) or type(error).__name__)
        raise UserError(f"cannot read the image {shorten(str(name))}: {reason}") from error


@contextlib.contextmanager
def _without_size_limit() -> Iterator[None]:
    """Pillow takes more than 179 megapixels for an attack; maps and scans are larger than that."""
    with _limit_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # EXIF that cannot be read asks for nothing; the pixels may be sound
        return 1


def _to_rgb(image: Image.Image, name: _Path) -> Image.Image:
    # Pillow would clip these modes at 255. It holds a PGM of 16 bits as integers of 32.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        grey = (np.asarray(image).astype(np.uint32) + 128) // 257
        image = Image.fromarray(grey.astype(np.uint8))
    elif image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "32-bit floats"
        raise UserError(f"{name} must have 8 or 16 bits a channel, got mode {image.mode} ({kind})")
    elif image.mode == "P":
        image = image.convert("RGBA")  # from here Pillow drops alpha without a warning
    return image.convert("RGB")
