"""Where the file names of an annotation file lead."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ..errors import UserError, brief, shorten
from .annotations import Entry


def find_files(
    images: Sequence[Entry], folder: Path, source: Path
) -> tuple[list[Path], tuple[str, ...]]:
    """The file of each image below a folder, and a sentence where that took a guess.

    A name that leads nowhere is tried without its first folders: Label Studio writes
    /data/upload/1/photo.jpg for images/photo.jpg, and so do tools that ran on another machine.

    Args:
        images: entries with `file_name`, which may be absolute.
        folder: where names lead from.
        source: the annotation file, for messages.

    Raises:
        FileNotFoundError: images that are not there; the message has the first and their number.
        UserError: two names that lead to one file, once they were shortened.
    """
    paths: list[Path] = []
    missing: list[Path] = []
    shortened: list[int] = []
    for position, image in enumerate(images):
        path = folder / image["file_name"]
        if not os.path.isfile(path):
            tail = by_its_tail(image["file_name"], folder)
            if tail is None or not os.path.isfile(tail):
                missing.append(path)
            else:
                path = tail
                shortened.append(position)
        paths.append(path)
    if missing:
        raise FileNotFoundError(
            f"image not found: {shorten(str(missing[0]))} "
            f"({len(missing)} of {len(images)} are missing)"
        )
    if not shortened:
        return paths, ()
    _check_different(images, paths, source)
    first = images[shortened[0]]["file_name"]
    return paths, (
        f"{len(shortened)} of {len(images)} file names are found without their first folders, "
        f"such as {brief(first)} at {shorten(str(paths[shortened[0]]))}",
    )


def by_its_tail(name: str, folder: Path) -> Path | None:
    """The file or folder below `folder` whose path a foreign path ends with, the longest first."""
    parts = [
        part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..")
    ]
    for start in range(len(parts)):
        path = folder.joinpath(*parts[start:])
        if os.path.exists(path):
            return path
    return None


def _check_different(images: Sequence[Entry], paths: Sequence[Path], source: Path) -> None:
    seen: dict[Path, int] = {}
    for position, path in enumerate(paths):
        before = seen.setdefault(path, position)
        if before != position:
            name, other = images[position]["file_name"], images[before]["file_name"]
            raise UserError(
                f"{source}: images[{position}].file_name must lead to another file than "
                f"images[{before}].file_name, {brief(other)}, got {brief(name)}: both are found "
                f"at {shorten(str(path))}"
            )
