"""Pictures of annotated images: what there is beside what was detected."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageOps
from tqdm import tqdm

from ..data.annotated import AnnotatedImages
from ..data.annotations import Entry
from ..errors import UserError
from ..evaluation.comparison import Comparison, Judged, Outcome, compare, truth_alone
from ..files import check_new
from .drawing import DrawnBox, caption, draw_boxes, grid, note, side_by_side
from .files import plan_pictures, save_picture
from .fonts import can_draw
from .outlines import Colour, Line

SHEET_NAME = "index.png"
_SHEET_COLUMNS, _SHEET_PICTURES = 3, 24
_SHEET_CELL = (640, 480)  # width and height, pixels
_NOTE_SIZE = (960, 240)  # as a pair of small pictures


class Style(NamedTuple):
    """How an outcome is drawn and called; colours are told apart by colour-blind people, too."""

    line: Line
    colour: Colour | None  # None: of the class
    legend: str


_GREEN, _PURPLE, _RED, _GREY = (0, 200, 140), (225, 120, 255), (255, 95, 30), (190, 190, 190)
STYLES: dict[Outcome, Style] = {
    "object": Style("solid", None, "objects"),
    "found": Style("solid", _GREEN, "found (solid)"),
    "misnamed": Style("dotted", _PURPLE, "misnamed (dotted)"),
    "missed": Style("dashed", _RED, "missed (dashed)"),
    "false": Style("dashed", _RED, "false (dashed)"),
    "crowd": Style("hatched", _GREY, "crowd (hatched)"),
    "ignored": Style("thin", _GREY, "in a crowd (thin)"),
}


class DrawnCategories:
    """What categories are called and which colours they have in pictures, by their ids.

    Args:
        names: (id, name) of each; one that no font here can draw is called by its id.
    """

    def __init__(self, names: Iterable[tuple[int | None, str]]) -> None:
        self._known = {
            number: (label, name if can_draw(name) else f"category {number}")
            for label, (number, name) in enumerate(names)
        }

    def drawn(self, judged: Judged, note: str = "") -> DrawnBox:
        """The box of an annotation or a detection; `note` is added to its caption."""
        entry, style = judged.entry, STYLES[judged.outcome]
        label, name = self._known[entry["category_id"]]
        text = caption(name, entry.get("score"))
        if judged.outcome == "crowd":
            text = f"{text} (crowd)"
        if judged.other is not None:
            link = "is" if "score" in entry else "as"
            text = f"{text} ({link} {self._known[judged.other][1]})"
        if note:
            text = f"{text} ({note})"
        x, y, width, height = entry["bbox"]
        return DrawnBox((x, y, x + width, y + height), label, text, style.line, style.colour)


def draw_detections(
    image: Image.Image, results: Sequence[Entry], categories: DrawnCategories
) -> Image.Image:
    """The image with the results, the best score on top."""
    by_score = sorted(results, key=lambda result: result["score"])
    return draw_boxes(image, [categories.drawn(Judged(result, "object")) for result in by_score])


def plan_gallery(
    annotated: AnnotatedImages, folder: str | os.PathLike[str], *, overwrite: bool
) -> list[Path]:
    """Where the picture of each image goes.

    Raises:
        UserError: one of them, or of the sheet beside them, is there and must not be overwritten.
    """
    sheet = Path(folder, SHEET_NAME)
    pictures = plan_pictures(annotated.paths, folder, taken=[sheet.stem])
    check_new(sheet, *pictures, overwrite=overwrite)
    return pictures


class Gallery:
    """Pictures of annotated images: their annotations, and beside them what was detected.

    Args:
        annotated: images.
        ground_truth: of them, of all categories or some.
        results: detections in COCO's result format; None: the annotations alone.
        min_score: detections from this score on.
        unread: images that are known not to be readable, by their numbers, each with its error.

    Attributes:
        unread: these, and what `write` finds.

    Raises:
        UserError: a value of the results makes no sense; the message names it.
    """

    def __init__(
        self,
        annotated: AnnotatedImages,
        ground_truth: dict[str, Any],
        results: list[Entry] | None,
        *,
        min_score: float,
        unread: Mapping[int, str] | None = None,
    ) -> None:
        self.unread = dict(unread or {})
        self.annotated, self._detected = annotated, results is not None
        self._begin = f"detections from {min_score:g} on"
        self._comparisons = (
            truth_alone(ground_truth)
            if results is None
            else compare(ground_truth, results, min_score=min_score)
        )
        self._shown = {category["id"] for category in ground_truth["categories"]}
        self._categories = DrawnCategories(
            zip(annotated.category_ids, annotated.class_names, strict=True)
        )

    def errors(self, index: int) -> int:
        """See `Comparison.errors`, of image `index`; none where nothing was detected on it, as it
        cannot be read."""
        return 0 if index in self.unread else self._comparison(index).errors()

    def worst_first(self) -> list[int]:
        """Images with the most errors first, equal ones in the order of the data."""
        return sorted(range(len(self.annotated)), key=lambda index: -self.errors(index))

    def draw(self, index: int) -> Image.Image:
        """Image `index` with its annotations, and at the right of that with its detections."""
        image = self.annotated.load(index)
        own = self._comparison(index)
        reasons = self._left_out(index, image)
        drawn = [
            self._categories.drawn(judged, reason)
            for judged, reason in zip(own.truth, reasons, strict=True)
            if reason != "outside"
        ]
        panels = [(_title("truth", own.truth, reasons), draw_boxes(image, drawn))]
        if self._detected:
            drawn = [self._categories.drawn(judged) for judged in own.found]
            panels.append((_title(self._begin, own.found), draw_boxes(image, drawn[::-1])))
        return side_by_side(panels)

    def write(
        self, order: Sequence[int], pictures: Sequence[Path], *, progress: bool = False
    ) -> None:
        """Write the pictures of the images `order`, and a sheet of the first ones beside them.

        An image that cannot be read is said on stderr, and has a note in its place.

        Args:
            pictures: a file for each image of the data, see `plan_gallery`.
        """
        sheet: list[Image.Image] = []
        for index in tqdm(order, desc="draw", unit="image", disable=not progress):
            drawn = self._drawn_or_note(index)
            save_picture(drawn, pictures[index])
            if len(sheet) < _SHEET_PICTURES:
                sheet.append(self._thumbnail(index, drawn))
        save_picture(grid(sheet, _SHEET_COLUMNS), pictures[0].parent / SHEET_NAME)

    def _drawn_or_note(self, index: int) -> Image.Image:
        if index not in self.unread:
            try:
                return self.draw(index)
            except (UserError, OSError) as error:
                self.unread[index] = str(error)
                tqdm.write(f"fcos: {error}", file=sys.stderr)
        return note(self.unread[index], _NOTE_SIZE)

    def _comparison(self, index: int) -> Comparison:
        return self._comparisons[self.annotated.images.ids[index]]

    def _left_out(self, index: int, image: Image.Image) -> list[str]:
        """Why no one trains on each annotation that is shown; "" of crowds, which say it."""
        reasons = self.annotated.left_out(index, image.height, image.width)
        entries = self.annotated.annotations(index)
        return [
            "" if reason == "crowd" else reason
            for entry, reason in zip(entries, reasons, strict=True)
            if entry["category_id"] in self._shown
        ]

    def _thumbnail(self, index: int, drawn: Image.Image) -> Image.Image:
        small = ImageOps.contain(drawn, _SHEET_CELL)
        title = self.annotated.paths[index].name
        if index in self.unread:
            title = f"{title}: not read"
        elif self._detected:
            title = f"{title}: {self.errors(index)} errors"
        return side_by_side([(title, small)])


def _title(begin: str, judged: Sequence[Judged], left_out: Sequence[str] = ()) -> str:
    """What a picture shows, and how outcomes are drawn."""
    outcomes = Counter(one.outcome for one in judged)
    parts = [f"{style.legend} {outcomes[name]}" for name, style in STYLES.items() if outcomes[name]]
    reasons = Counter(filter(None, left_out))
    parts += [f"not trained on ({reason}) {count}" for reason, count in reasons.items()]
    return f"{begin}: {', '.join(parts) or 'nothing'}"
