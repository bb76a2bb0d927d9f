"""A part of a data set, as every form of annotations is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from .annotations import Annotations


class Part(NamedTuple):
    """A part of a data set, such as train.

    Attributes:
        name: what to call it.
        form: who writes such files.
        source: annotation file or folder that messages name.
        annotations: all that it holds.
        images: folder that file names lead from.
        notes: what was read in a way that not everybody would, a sentence each.
        upright_sizes: (width, height) by `id` of images that state none and had to be opened.
    """

    name: str
    form: str
    source: Path
    annotations: Annotations
    images: Path
    notes: tuple[str, ...] = ()
    upright_sizes: Mapping[int | str, tuple[int, int]] = MappingProxyType({})

    def noted(self, *notes: str) -> Part:
        return self._replace(notes=(*self.notes, *notes))


# of a folder: its parts by name, each read when it is called
Parts = dict[str, Callable[[], Part]]
