"""Boxes one after the other into columns."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .columns import BoxColumns, Boxes, Entry, Ids


class BoxBuilder:
    """Collects the boxes of images, which may be sorted in the meantime.

    Args:
        image_ids, category_ids: of the images and categories that are listed.
    """

    def __init__(self, image_ids: Iterable[int | str], category_ids: Sequence[int]) -> None:
        self._image_places = {value: place for place, value in enumerate(image_ids)}
        self._category_places = {value: place for place, value in enumerate(category_ids)}
        self._images, self._categories = array("q"), array("q")
        self._boxes, self._areas = array("d"), array("d")
        self._crowds, self._rotated = array("b"), array("b")
        self._unlisted: dict[int, int | str] = {}

    def add(
        self,
        image_id: int | str,
        category_id: int,
        bbox: Sequence[float],
        area: float,
        iscrowd: int,
        attributes: object = None,
    ) -> None:
        """A box of a listed category, whose values are as those of `Annotations.annotations`."""
        place = self._image_places.get(image_id, -1)
        if place < 0:
            self._unlisted[len(self._images)] = image_id
        self._images.append(place)
        self._categories.append(self._category_places[category_id])
        self._boxes.extend(bbox)
        self._areas.append(area)
        self._crowds.append(iscrowd)
        self._rotated.append(_is_rotated(attributes))

    def add_entry(self, entry: Entry) -> None:
        """One of `Annotations.annotations`."""
        self.add(
            entry["image_id"],
            entry["category_id"],
            entry["bbox"],
            entry["area"],
            entry["iscrowd"],
            entry.get("attributes"),
        )

    def build(self, image_ids: Ids, category_ids: Sequence[int]) -> Boxes:
        """The boxes of these images and categories, which are the same in any order."""
        columns = BoxColumns(
            _moved(self._images, self._image_places, image_ids),
            _moved(self._categories, self._category_places, category_ids),
            np.array(self._boxes).reshape(-1, 4),
            np.array(self._areas),
            np.array(self._crowds, np.bool_),
            np.array(self._rotated, np.bool_),
        )
        return Boxes(columns, image_ids, category_ids, self._unlisted)


def _moved(places: array[int], before: dict[Any, int], now: Sequence[Any]) -> Any:
    """Places in the order of `now`; -1 stays."""
    new = {value: place for place, value in enumerate(now)}
    moves = np.array([*(new[value] for value in before), -1])
    return moves[np.array(places, np.int64)]


def _is_rotated(attributes: object) -> bool:
    rotation = attributes.get("rotation") if isinstance(attributes, dict) else None
    return rotation not in (None, "", 0, "0", "0.0")
