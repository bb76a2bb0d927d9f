"""Files of a data set: images below a folder, and text."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import UserError

# of the files in a folder, those with these names are taken for images
IMAGE_SUFFIXES = frozenset(
    ".avif .bmp .gif .jfif .jp2 .jpe .jpeg .jpg .pgm .png .ppm .tif .tiff .webp".split()
)


def list_images(folder: Path) -> list[Path]:
    """All image files below a folder, sorted; hidden ones are left out."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                found.append(Path(place, name))
    return sorted(found)


def images_by_stem(folder: Path) -> dict[str, str]:
    """The name of each image relative to a folder, by that name without its suffix."""
    names = (path.relative_to(folder) for path in list_images(folder))
    return {name.with_suffix("").as_posix(): name.as_posix() for name in names}


def read_text(file: Path) -> str:
    """Raises UserError where a file is not text."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} must be text in UTF-8: {error}") from error


def read_lines(file: Path) -> list[str]:
    """The lines of a text file that are not blank. Errors: `read_text`"""
    return [line.strip() for line in read_text(file).splitlines() if line.strip()]
