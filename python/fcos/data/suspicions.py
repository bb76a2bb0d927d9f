"""Boxes that are valid each, and together look as if they were meant otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .columns import BoxColumns

_SLACK = 2  # pixels that tools round beyond an image; a whole number, as sides may be too large


def suspicions(columns: BoxColumns, widths: NDArray[Any], heights: NDArray[Any]) -> list[str]:
    """What is odd about N boxes, a sentence each.

    widths, heights: of the image of each box [N], in pixels.
    """
    x, y, box_width, box_height = columns.boxes.T
    _, _, right, bottom = columns.corners()
    boxes, rotated = len(columns.boxes), int(columns.rotated.sum())
    shares = (np.maximum(right, bottom) <= 1.0).sum()
    beyond = ((right > widths + _SLACK) | (bottom > heights + _SLACK)).sum()
    # would the four numbers be a box inside the image if the last two were its far corner?
    corners = (
        (x < box_width)
        & (box_width <= widths + _SLACK)
        & (y < box_height)
        & (box_height <= heights + _SLACK)
    ).sum()
    said = []
    if boxes and shares == boxes:
        said.append(
            f"all {boxes} boxes lie within 0..1: bbox must be in pixels, "
            "these look like shares of the image"
        )
    elif corners == boxes and 2 * beyond > boxes:
        said.append(
            f"{beyond} of {boxes} boxes reach beyond their image: bbox must be "
            "x, y, width, height, these look like x1, y1, x2, y2"
        )
    if rotated:
        said.append(
            f"{rotated} of {boxes} boxes were rotated by their tool "
            "(attributes.rotation): each is read as the upright box that bbox has"
        )
    return said
