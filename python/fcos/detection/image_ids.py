"""Ids of images for results that COCO's tools read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from ..data.forms import read_file
from ..errors import UserError, a_few


def ids_of_names(paths: Sequence[Path]) -> list[int | str]:
    """The name of each file without its suffix, as a number where it is one, as COCO's are and
    other detectors have it; where two would be equal the places of all, from 1."""
    ids = [int(p.stem) if p.stem.isascii() and p.stem.isdigit() else p.stem for p in paths]
    return ids if len(set(ids)) == len(ids) else list(range(1, len(paths) + 1))


class ListedImage(NamedTuple):
    """What an annotation file says of an image: its id and, where stated, (width, height)."""

    image_id: int | str
    size: tuple[int, int] | None


def images_of_file(paths: Sequence[Path], annotations: str | os.PathLike[str]) -> list[ListedImage]:
    """What an annotation file says of each of these images.

    A path is that of the image whose `file_name` ends like it; the most folders in common decide.

    Raises:
        FileNotFoundError: no such file.
        UserError: images that it does not list, or lists twice under names that fit alike.
    """
    listed: dict[str, list[tuple[tuple[str, ...], ListedImage]]] = {}
    for image in read_file(annotations, ".").annotations.columns()[0]:
        *folders, name = image["file_name"].replace("\\", "/").split("/")
        size = (image["width"], image["height"]) if "width" in image else None
        found = ListedImage(image["id"], size)
        listed.setdefault(name, []).append((tuple(folders[::-1]), found))
    missing = [str(path) for path in paths if path.name not in listed]
    if missing:
        raise UserError(
            f"{annotations} must list every image, got {len(missing)} of {len(paths)} that it does "
            f"not: {a_few(missing)}"
        )
    taken: dict[ListedImage, Path] = {}
    for path in paths:
        fitting = _most_alike(path, listed[path.name])
        other = taken.setdefault(fitting[0], path)
        if len(fitting) > 1 or other is not path:
            ids = a_few([image.image_id for image in fitting])
            several = f"the ids {ids}" if len(fitting) > 1 else f"that of {other}, too"
            raise UserError(f"{annotations} must have an id of its own for {path}, got {several}")
    return list(taken)


def _most_alike(
    path: Path, listed: Sequence[tuple[tuple[str, ...], ListedImage]]
) -> list[ListedImage]:
    """Those whose names have the most folders in common with a path, from the last one on."""
    own = path.resolve().parts[-2::-1]

    def common(folders: tuple[str, ...]) -> int:
        pairs = zip(own, folders, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    most = max(common(folders) for folders, _ in listed)
    return [image for folders, image in listed if common(folders) == most]
