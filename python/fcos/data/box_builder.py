"""Boxes one after the other into columns."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np

from .columns import BoxColumns, Boxes, Entry, Ids


class BoxBuilder:
    """Collects the boxes of images.

    Args:
        image_ids, category_ids: of the images and categories that are listed.
    """

    def __init__(self, image_ids: Ids, category_ids: Sequence[int]) -> None:
        self._image_ids, self._category_ids = image_ids, category_ids
        self._image_places = {value: place for place, value in enumerate(image_ids)}
        self._category_places = {value: place for place, value in enumerate(category_ids)}
        self._images, self._categories = array("q"), array("q")
        self._boxes, self._areas = array("d"), array("d")
        self._crowds, self._rotated = array("b"), array("b")
        self._unlisted: dict[int, int | str] = {}
        self._without_box = 0

    def add(
        self,
        image_id: int | str,
        category_id: int,
        bbox: Sequence[float] | None,
        area: float,
        iscrowd: int,
        attributes: object = None,
    ) -> None:
        """A box of a listed category, whose values are as those of `Annotations.annotations`, or an
        annotation without one."""
        if bbox is None:
            self._without_box += 1
            return
        place = self._image_places.get(image_id)
        if place is None:
            position = len(self._images) + len(self._unlisted) + self._without_box
            self._unlisted[position] = image_id
            return
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

    def build(self) -> Boxes:
        """All that was added."""
        columns = BoxColumns(
            np.array(self._images, np.int64),
            np.array(self._categories, np.int64),
            np.array(self._boxes).reshape(-1, 4),
            np.array(self._areas),
            np.array(self._crowds, np.bool_),
            np.array(self._rotated, np.bool_),
        )
        return Boxes(
            columns, self._image_ids, self._category_ids, self._unlisted, self._without_box
        )


def _is_rotated(attributes: object) -> bool:
    rotation = attributes.get("rotation") if isinstance(attributes, dict) else None
    return rotation not in (None, "", 0, "0", "0.0")
