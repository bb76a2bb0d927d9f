"""Images and boxes as columns of numbers and bytes instead of a Python object each.

A hundred thousand images with a million boxes take a twentieth of the memory so, and processes that
load images share it: counting references to objects would write into each one's copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

Entry = dict[str, Any]
Ids = Sequence[int] | Sequence[str]


class Texts(Sequence[str]):
    """Strings in one block of bytes."""

    def __init__(self, texts: Iterable[str]) -> None:
        # names of files may hold bytes that are no UTF-8, which Python spells as surrogates
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        self._bytes = b"".join(encoded)
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Texts: ...
    def __getitem__(self, index: int | slice) -> str | Texts:
        if isinstance(index, slice):
            return Texts(self[i] for i in range(len(self))[index])
        place = range(len(self))[index]
        text = self._bytes[self._ends[place] : self._ends[place + 1]]
        return text.decode("utf-8", "surrogateescape")


class Integers(Sequence[int]):
    """Whole numbers, of 64 bits each where that is enough for all."""

    def __init__(self, numbers: Sequence[int] | NDArray[Any]) -> None:
        try:
            self.array = np.asarray(numbers, np.int64)
        except OverflowError:
            self.array = np.asarray(numbers, np.object_)

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Integers: ...
    def __getitem__(self, index: int | slice) -> int | Integers:
        if isinstance(index, slice):
            return Integers(self.array[index])
        return int(self.array[index])


class Paths(Sequence[Path]):
    """Paths of files."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._texts = Texts(map(str, paths))

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> list[Path]: ...
    def __getitem__(self, index: int | slice) -> Path | list[Path]:
        if isinstance(index, slice):
            return [Path(text) for text in self._texts[index]]
        return Path(self._texts[index])


class Images(Sequence[Entry]):
    """Entries with id, file_name and, where they are stated, width and height.

    Attributes:
        ids: of each.
        names: file names.
        widths, heights: 0 where they are not stated.
        places: int64 [N], where each was in the whole list that this is a part of.
    """

    def __init__(
        self,
        ids: Ids,
        names: Texts,
        widths: Integers,
        heights: Integers,
        places: NDArray[np.int64] | None = None,
    ) -> None:
        self.ids, self.names, self.widths, self.heights = ids, names, widths, heights
        self.places = np.arange(len(ids)) if places is None else places

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Images:
        """Those of a list, in its order; other fields are dropped."""
        return cls(
            make_ids([entry["id"] for entry in entries]),
            Texts(entry["file_name"] for entry in entries),
            Integers([entry.get("width", 0) for entry in entries]),
            Integers([entry.get("height", 0) for entry in entries]),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, rows: NDArray[np.int64]) -> Images:
        """Those of these rows."""
        ids = make_ids([self.ids[row] for row in rows])
        names = Texts(self.names[row] for row in rows)
        widths, heights = (Integers(sides.array[rows]) for sides in (self.widths, self.heights))
        return Images(ids, names, widths, heights, self.places[rows])

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Images: ...
    def __getitem__(self, index: int | slice) -> Entry | Images:
        if isinstance(index, slice):
            return self.at(np.arange(len(self))[index])
        entry: Entry = {"id": self.ids[index], "file_name": self.names[index]}
        if self.widths[index]:
            entry |= {"width": self.widths[index], "height": self.heights[index]}
        return entry


class BoxColumns(NamedTuple):
    """N boxes.

    Attributes:
        images: int64 [N], the place of each box's own in a list of images.
        categories: int64 [N], the place of each box's own in a list of categories.
        boxes: float64 [N, 4], x y width height.
        areas: float64 [N].
        crowds, rotated: bool [N]. rotated: `attributes` say that the tool's box was.
    """

    images: NDArray[np.int64]
    categories: NDArray[np.int64]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    crowds: NDArray[np.bool_]
    rotated: NDArray[np.bool_]

    def of(self, rows: NDArray[np.int64] | slice) -> BoxColumns:
        return BoxColumns._make(column[rows] for column in self)

    def corners(self) -> NDArray[np.float64]:
        """x1 y1 x2 y2, [4, N]; sides that a file states may be any numbers."""
        x, y, width, height = self.boxes.T
        with np.errstate(over="ignore"):
            return np.stack((x, y, x + width, y + height))


class Boxes(Sequence[Entry]):
    """Entries with image_id, category_id, bbox (x y width height), area and iscrowd.

    Attributes:
        columns: of all of them.
        image_ids: those whose places `columns.images` are.
        category_ids: those whose places `columns.categories` are.
        unlisted: by its position among all annotations, the image's id of each that is not here, as
            no listed image has it.
        without_box: how many more are not here, as they have no box.
    """

    def __init__(
        self,
        columns: BoxColumns,
        image_ids: Ids,
        category_ids: Sequence[int],
        unlisted: dict[int, int | str] | None = None,
        without_box: int = 0,
    ) -> None:
        self.columns, self.unlisted, self.without_box = columns, unlisted or {}, without_box
        self.image_ids, self.category_ids = image_ids, category_ids

    def __len__(self) -> int:
        return len(self.columns.images)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        position = range(len(self))[index]
        return {
            "image_id": self.image_ids[self.columns.images[position]],
            "category_id": self.category_ids[self.columns.categories[position]],
            "bbox": self.columns.boxes[position].tolist(),
            "area": self.columns.areas[position].item(),
            "iscrowd": int(self.columns.crowds[position]),
        }

    def by_image(self) -> tuple[Boxes, NDArray[np.int64]]:
        """The boxes in the order of the images, each image's in their own order; and int64
        [images + 1]: the boxes of image i are those from the i-th number to the next."""
        order = np.argsort(self.columns.images, kind="stable")
        columns = self.columns.of(order)
        starts = np.searchsorted(columns.images, np.arange(len(self.image_ids) + 1))
        return Boxes(columns, self.image_ids, self.category_ids), starts


def make_ids(ids: Sequence[Any]) -> Ids:
    """As columns; ids of two types as they are."""
    kinds = set(map(type, ids))
    return Texts(ids) if kinds == {str} else Integers(ids) if kinds == {int} else list(ids)
