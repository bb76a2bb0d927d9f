"""What became of every object and detection of an image."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal, NamedTuple

from ..data.annotations import Entry
from .coco_tables import result_table, truth_table
from .matching import IN_CROWD, NO_OBJECT, ImageMatches, match_images

# object: of which nothing is known, as there are no detections
Outcome = Literal["object", "crowd", "found", "misnamed", "missed", "false", "ignored"]
ERRORS: tuple[Outcome, ...] = ("misnamed", "missed", "false")


class Judged(NamedTuple):
    """An annotation or a detection.

    Attributes:
        entry: as in the annotation file, or of a result.
        outcome: "found": an object and a detection of its category; "misnamed": of another one;
            "missed", "false": an object, a detection that is alone; "ignored": in a crowd.
        other: category id of what a misnamed one was matched with.
    """

    entry: Entry
    outcome: Outcome
    other: int | None = None


class Comparison(NamedTuple):
    """An image: its annotations in their order, and its detections, best score first."""

    truth: list[Judged]
    found: list[Judged]

    def errors(self) -> int:
        """Objects that were missed, false detections, and objects taken for another category."""
        counts = Counter(judged.outcome for judged in (*self.truth, *self.found))
        return counts["missed"] + counts["false"] + counts["misnamed"] // 2


def truth_alone(ground_truth: dict[str, Any]) -> dict[Any, Comparison]:
    """The annotations of each image by its id, as they are where nothing was detected on it."""
    own = {image["id"]: Comparison([], []) for image in ground_truth["images"]}
    for entry in ground_truth["annotations"]:
        judged = Judged(entry, "crowd" if entry["iscrowd"] else "object")
        own[entry["image_id"]].truth.append(judged)
    return own


def compare(
    ground_truth: dict[str, Any], results: list[Entry], *, min_score: float
) -> dict[Any, Comparison]:
    """Annotations and detections of each image by its id, matched as `match_images` says.

    Args:
        ground_truth: as from `AnnotatedImages.ground_truth`.
        results: in COCO's result format.
        min_score: detections from this score on.

    Raises:
        UserError: a value makes no sense; the message names it.
    """
    truth = truth_table(ground_truth)
    found = result_table(ground_truth, results)
    own = truth_alone(ground_truth)
    matches = match_images(truth, found, min_score=min_score)
    for image_id, of_image in zip(truth.image_ids, matches, strict=True):
        own[image_id] = _judge(ground_truth["annotations"], results, of_image, own[image_id])
    return own


def _judge(
    annotations: list[Entry], results: list[Entry], matches: ImageMatches, plain: Comparison
) -> Comparison:
    found = []
    fates: dict[int, Judged] = {}  # of objects, by the identity of their entries
    for detection, taken in zip(matches.detections.tolist(), matches.taken.tolist(), strict=True):
        result = results[detection]
        if taken in (NO_OBJECT, IN_CROWD):
            found.append(Judged(result, "false" if taken == NO_OBJECT else "ignored"))
            continue
        entry = annotations[taken]
        own, other = entry["category_id"], result["category_id"]
        if own == other:
            found.append(Judged(result, "found"))
            fates[id(entry)] = Judged(entry, "found")
        else:
            found.append(Judged(result, "misnamed", own))
            fates[id(entry)] = Judged(entry, "misnamed", other)
    truth = [
        judged
        if judged.outcome == "crowd"
        else fates.get(id(judged.entry), Judged(judged.entry, "missed"))
        for judged in plain.truth
    ]
    return Comparison(truth, found)
