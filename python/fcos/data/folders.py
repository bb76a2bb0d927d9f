"""Image files below a folder."""

from __future__ import annotations

import os
from pathlib import Path

from ..inputs import SUFFIXES


def list_images(folder: Path) -> list[Path]:
    """All image files below a folder, sorted; hidden ones are left out."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                found.append(Path(place, name))
    return sorted(found)


def images_by_stem(folder: Path) -> dict[str, str]:
    """The name of each image relative to a folder, by that name without its suffix."""
    names = (path.relative_to(folder) for path in list_images(folder))
    return {name.with_suffix("").as_posix(): name.as_posix() for name in names}
