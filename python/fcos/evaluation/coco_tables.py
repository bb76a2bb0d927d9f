"""Ground truth and results as arrays: checked, and with ids that every evaluator takes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.columns import Entry
from ..data.entries import MAX_AREA
from .coco_checks import check_ground_truth, check_results

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class TruthTable(NamedTuple):
    """The annotations of a data set, N of them.

    Attributes:
        image_ids, category_ids: sorted. The arrays hold places in them.
        images, categories: int64 [N].
        boxes: float64 [N, 4], x y width height.
        areas: float64 [N].
        crowds: bool [N].
    """

    image_ids: list[Any]
    category_ids: list[Any]
    images: Indices
    categories: Indices
    boxes: Floats
    areas: Floats
    crowds: NDArray[np.bool_]

    @property
    def measurable(self) -> bool:
        """Whether there is an object to find; crowds are none."""
        return not self.crowds.all()


class ResultTable(NamedTuple):
    """N detections, in the order in which they were given.

    Attributes:
        images, categories: int64 [N], places in the lists of a `TruthTable`.
        boxes: float64 [N, 4], x y width height.
        scores: float64 [N].
    """

    images: Indices
    categories: Indices
    boxes: Floats
    scores: Floats


def truth_table(ground_truth: dict[str, Any]) -> TruthTable:
    """UserError where an annotation would not be evaluated as it says."""
    check_ground_truth(ground_truth)
    entries = ground_truth["annotations"]
    images = sorted(image["id"] for image in ground_truth["images"])
    categories = sorted(category["id"] for category in ground_truth["categories"])
    return TruthTable(
        images,
        categories,
        _places(entries, "image_id", images),
        _places(entries, "category_id", categories),
        _boxes(entries),
        np.array([float(entry["area"]) for entry in entries], np.float64),
        np.array([bool(entry["iscrowd"]) for entry in entries], np.bool_),
    )


def result_table(ground_truth: dict[str, Any], results: list[Entry]) -> ResultTable:
    """UserError where a result would not be evaluated as it says.

    ground_truth: that `truth_table` has taken.
    """
    if not _are_plain(results):
        check_results(ground_truth, results)
    try:
        found = _results(ground_truth, results)
    except KeyError:  # of an id that is not there
        check_results(ground_truth, results)
        raise
    areas = found.boxes[:, 2] * found.boxes[:, 3]
    valid = np.isfinite(found.boxes).all() and (found.boxes[:, 2:] >= 0).all()
    if not (valid and np.isfinite(found.scores).all() and (areas <= MAX_AREA).all()):
        check_results(ground_truth, results)
    return found


def _results(ground_truth: dict[str, Any], results: list[Entry]) -> ResultTable:
    images = sorted(image["id"] for image in ground_truth["images"])
    categories = sorted(category["id"] for category in ground_truth["categories"])
    return ResultTable(
        _places(results, "image_id", images),
        _places(results, "category_id", categories),
        _boxes(results),
        np.array([float(entry["score"]) for entry in results], np.float64),
    )


def _are_plain(results: list[Entry]) -> bool:
    """Whether all values are of the types that `predict` gives them, so that arrays of them can be
    checked: a tenth of the time that `check_results` takes."""
    try:
        boxes = [result["bbox"] for result in results]
        numbers = chain.from_iterable(boxes)
        return (
            {type(result) for result in results} <= {dict}
            and {type(box) for box in boxes} <= {list}
            and {len(box) for box in boxes} <= {4}
            and {type(number) for number in numbers} <= {int, float}
            and {type(result["score"]) for result in results} <= {int, float}
            and {type(result["image_id"]) for result in results} <= {int, str}
            and {type(result["category_id"]) for result in results} <= {int}
        )
    except (KeyError, TypeError):
        return False


def _places(entries: Sequence[Entry], field: str, ids: Sequence[Any]) -> Indices:
    place = {value: i for i, value in enumerate(ids)}
    return np.array([place[entry[field]] for entry in entries], np.int64)


def _boxes(entries: Sequence[Entry]) -> Floats:
    numbers = chain.from_iterable(entry["bbox"] for entry in entries)
    return np.fromiter(map(float, numbers), np.float64).reshape(-1, 4)
