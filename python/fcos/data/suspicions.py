"""Boxes that are valid each, and together look as if they were meant otherwise."""

from __future__ import annotations

from .annotations import Entry

_SLACK = 2  # pixels that tools round beyond an image; a whole number, as sides may be too large


class Suspicions:
    """Looks at every annotation and then says what is odd about them, a sentence each."""

    def __init__(self) -> None:
        self._boxes = self._shares = self._beyond = self._corners = self._rotated = 0

    def look_at(self, annotation: Entry, width: int, height: int) -> None:
        """At one on an image of this size in pixels."""
        x, y, box_width, box_height = annotation["bbox"]
        self._boxes += 1
        self._shares += max(x + box_width, y + box_height) <= 1.0
        beyond = x + box_width > width + _SLACK or y + box_height > height + _SLACK
        self._beyond += beyond
        # would the four numbers be a box inside the image if the last two were its far corner?
        self._corners += x < box_width <= width + _SLACK and y < box_height <= height + _SLACK
        attributes = annotation.get("attributes")
        if isinstance(attributes, dict):
            self._rotated += attributes.get("rotation") not in (None, "", 0, "0", "0.0")

    def sentences(self) -> list[str]:
        said = []
        if self._boxes and self._shares == self._boxes:
            said.append(
                f"all {self._boxes} boxes lie within 0..1: bbox must be in pixels, "
                "these look like shares of the image"
            )
        elif self._corners == self._boxes and 2 * self._beyond > self._boxes:
            said.append(
                f"{self._beyond} of {self._boxes} boxes reach beyond their image: bbox must be "
                "x, y, width, height, these look like x1, y1, x2, y2"
            )
        if self._rotated:
            said.append(
                f"{self._rotated} of {self._boxes} boxes were rotated by their tool "
                "(attributes.rotation): each is read as the upright box that bbox has"
            )
        return said
