"""Where the captions of boxes go: beside their objects, upon no other caption, if there is room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_GOOD_ENOUGH = 0.3  # cost up to which a caption stands in the picture
_UPON_CAPTION = 4.0  # cost of a caption that lies wholly upon another
_BY_PLACE = 0.01  # cost of each place against the one before


class Place(NamedTuple):
    """The upper left corner of a caption, and whether it is in nobody's way there."""

    x: float
    y: float
    free: bool


class Places:
    """Gives captions their places, one after the other.

    Args:
        size: (width, height) of the picture.
        boxes: float64 [N, 4], x1 y1 x2 y2; objects that captions should not hide.
        distance: of a caption from its box, in pixels.
    """

    def __init__(self, size: tuple[int, int], boxes: Floats, distance: float) -> None:
        self._size, self._distance = np.array(size, np.float64), distance
        self._boxes = _within(boxes, self._size)
        self._captions = np.zeros((0, 4))

    def best(self, box: int, width: float, height: float) -> Place:
        """For a caption of this size of the box of this number; see `take`."""
        corners = _candidates(self._boxes[box], width, height, self._distance)
        limits = np.maximum(self._size - (width, height), 0)
        inside = np.clip(corners, 0, limits)
        # one that was pushed far from its place would seem to be of another box
        pushed = np.abs(inside - corners).max(1) > height
        rects = np.concatenate((inside, inside + (width, height)), axis=1)
        upon = _shared(rects, self._captions).sum(1) / (width * height)
        hidden = (_shared(rects, self._boxes) / _areas(self._boxes)).sum(1)
        costs = _UPON_CAPTION * upon + hidden + pushed + _BY_PLACE * np.arange(len(rects))
        best = int(costs.argmin())
        x, y = inside[best].tolist()
        return Place(x, y, bool(costs[best] <= _GOOD_ENOUGH))

    def take(self, place: Place, width: float, height: float) -> None:
        """Later captions avoid this one."""
        rect = [[place.x, place.y, place.x + width, place.y + height]]
        self._captions = np.concatenate((self._captions, rect))


def _candidates(box: Floats, width: float, height: float, distance: float) -> Floats:
    """Upper left corners [K, 2]: above, below, at the sides, in the corners of the box."""
    x1, y1, x2, y2 = box.tolist()
    above, below = y1 - distance - height, y2 + distance
    left, right = x1 - distance - width, x2 + distance
    places: Sequence[tuple[float, float]] = (
        *((x1, above), (x2 - width, above), (x1, below), (x2 - width, below)),
        *((right, y1), (right, y2 - height), (left, y1), (left, y2 - height)),
        *((x1, y1), (x2 - width, y1), (x1, y2 - height), (x2 - width, y2 - height)),
    )
    return np.array(places)


def _within(boxes: Floats, size: Floats) -> Floats:
    limits = np.concatenate((size, size))
    return np.clip(boxes, 0, limits)


def _shared(first: Floats, second: Floats) -> Floats:
    """Areas [N, M] that rectangles share."""
    corners = np.maximum(first[:, None, :2], second[None, :, :2])
    ends = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return np.clip(ends - corners, 0, None).prod(-1)


def _areas(boxes: Floats) -> Floats:
    return np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1), 1.0)
