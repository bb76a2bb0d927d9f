"""Pictures that a command writes: their names, and how they are saved."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ..errors import UserError
from ..files import atomic_path

_LONGEST_STEM = 240  # bytes


def plan_pictures(
    paths: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    taken: Sequence[str] = (),
) -> list[Path]:
    """Where the picture of each image goes: its name as .png, numbered if it was there before.

    Args:
        paths: image files.
        folder: of the pictures.
        taken: stems of other files there, which no picture gets.

    Raises:
        UserError: a picture would take the place of an image.
    """
    used = dict.fromkeys(taken, 1)
    pictures = [Path(folder) / f"{_unused(_short(Path(path).stem), used)}.png" for path in paths]
    images = {Path(path).resolve() for path in paths}
    for picture in pictures:
        if picture.resolve() in images:
            raise UserError(f"{folder} must be another folder than that of the image {picture}")
    return pictures


def save_picture(picture: Image.Image, path: str | os.PathLike[str]) -> None:
    """As PNG, atomically."""
    with atomic_path(path) as temporary:
        # a third of the time that the usual level takes, for a twentieth more bytes of a photo
        picture.save(temporary, format="PNG", compress_level=1)


def _unused(stem: str, used: dict[str, int]) -> str:
    """`stem`, numbered where another image of that name was there before.

    used: names, each with the last number that was tried behind it, to go on from.
    """
    name = stem
    while name in used:
        used[stem] += 1
        name = f"{stem}-{used[stem]}"
    used[name] = 1
    return name


def _short(stem: str) -> str:
    """So much of it that a file system takes it with a number and .png, which is 255 bytes."""
    name = os.fsencode(stem)
    return stem if len(name) <= _LONGEST_STEM else name[:_LONGEST_STEM].decode(errors="ignore")
