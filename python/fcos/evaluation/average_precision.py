"""COCO's metrics from what an evaluator accumulated, of the data set and of each class."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..data.annotations import Entry
from .coco_tables import Floats, result_table, truth_table
from .evaluators import Accumulated, accumulate, choose_evaluator, describe_evaluator

DEFAULT_LIMIT = 100  # detections an image that COCO's metrics count
RECALLS = np.linspace(0, 1, 101)
METRIC_NAMES = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl"),
    *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)
_AREAS = ((0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10))  # with both ends, as COCO has them
_IOU_75 = 5  # place of that threshold, of 0.5, 0.55, ...


class ClassResult(NamedTuple):
    """How well one category was found; -1 where there is nothing to find.

    Attributes:
        category_id: in the annotation file.
        ap, ap50: average precision over all IoU thresholds, and at 0.5.
        boxes: how many objects there are; crowds are none.
        score: the threshold with the best F1 at an IoU of 0.5, to a hundredth of the recall; None
            where nothing was found.
    """

    category_id: int
    ap: float
    ap50: float
    boxes: int
    score: float | None


class Evaluation:
    """COCO's box metrics of detections.

    Args:
        ground_truth: as from `AnnotatedImages.ground_truth`: every annotation with `iscrowd`,
            `area` and an id of its own, of at least 1.
        results: as from `predict`; may be empty.
        max_detections: how many of an image count, the best by score.
        evaluator: one of `EVALUATORS`; None: the fastest that is installed.

    Attributes:
        evaluator: name and version of the package that evaluated.

    Raises:
        UserError: a value would be taken for another than it is, such as a NaN box for a perfect
            match, or passed over; the message names it.
    """

    def __init__(
        self,
        ground_truth: dict[str, Any],
        results: list[Entry],
        *,
        max_detections: int = DEFAULT_LIMIT,
        evaluator: str | None = None,
    ) -> None:
        self.truth = truth_table(ground_truth)
        self.found = result_table(ground_truth, results)
        self.limits = [*(limit for limit in (1, 10) if limit < max_detections), max_detections]
        name = choose_evaluator(evaluator)
        self.evaluator = describe_evaluator(name)
        self._accumulated = (
            accumulate(self.truth, self.found, self.limits, name)
            if len(results) and self.truth.measurable
            else self._nothing_found()
        )

    def metrics(self) -> dict[str, float]:
        """The twelve under the names of `METRIC_NAMES`; AR100 is AR<max_detections>. Values in
        [0, 1]; -1 where there is nothing to measure (no ground truth of that size)."""
        precision, recall, _ = self._accumulated
        values = [_mean(part[:, :, :, 0, -1]) for part in (precision, precision[:1])]
        values.append(_mean(precision[_IOU_75, :, :, 0, -1]))
        values += [_mean(precision[:, :, :, area, -1]) for area in (1, 2, 3)]
        values += [_mean(recall[:, :, 0, place]) for place in range(len(self.limits))]
        values += [_mean(recall[:, :, area, -1]) for area in (1, 2, 3)]
        return dict(zip(self._names(), values, strict=True))

    def classes(self) -> list[ClassResult]:
        """One for each category, in the order of the ids."""
        precision = self._accumulated.precision[:, :, :, 0, -1]
        counted = self.truth.categories[~self.truth.crowds]
        boxes = np.bincount(counted, minlength=len(self.truth.category_ids)).tolist()
        return [
            ClassResult(
                category,
                _mean(precision[:, :, place]),
                _mean(precision[0, :, place]),
                boxes[place],
                self._best_score(place),
            )
            for place, category in enumerate(self.truth.category_ids)
        ]

    def curves(self) -> dict[int, Floats]:
        """Precision [101] at the recalls of `RECALLS` at an IoU of 0.5, of each category that has
        objects."""
        precision = self._accumulated.precision[0, :, :, 0, -1]
        return {
            category: precision[:, place]
            for place, category in enumerate(self.truth.category_ids)
            if precision[0, place] > -1
        }

    def _best_score(self, place: int) -> float | None:
        """Where precision is the greatest at a recall or beyond it, the best F1 is a point of the
        curve itself: a better one further on would count there."""
        precision = self._accumulated.precision[0, :, place, 0, -1]
        if precision.max() <= 0:
            return None
        f1 = 2 * precision * RECALLS / np.maximum(precision + RECALLS, 1e-12)
        return float(self._accumulated.scores[0, f1.argmax(), place, 0, -1])

    def _names(self) -> list[str]:
        ar = [f"AR{limit}" for limit in self.limits]
        return [*METRIC_NAMES[:6], *ar, *METRIC_NAMES[-3:]]

    def _nothing_found(self) -> Accumulated:
        """Without detections: 0 for each category and range of areas that has objects."""
        truth = self.truth
        shape = (10, len(RECALLS), len(truth.category_ids), len(_AREAS), len(self.limits))
        there = np.zeros(shape[2:4], np.bool_)
        for place, (least, most) in enumerate(_AREAS):
            objects = ~truth.crowds & (truth.areas >= least) & (truth.areas <= most)
            there[truth.categories[objects], place] = True
        precision = np.where(there[:, :, None], 0.0, np.full(shape, -1.0))
        return Accumulated(precision, precision[:, 0].copy(), precision.copy())


def coco_metrics(
    ground_truth: dict[str, Any],
    results: list[Entry],
    *,
    max_detections: int = DEFAULT_LIMIT,
    evaluator: str | None = None,
) -> dict[str, float]:
    """COCO's twelve box metrics: see `Evaluation` and its `metrics`."""
    evaluation = Evaluation(
        ground_truth, results, max_detections=max_detections, evaluator=evaluator
    )
    return evaluation.metrics()


def _mean(values: Floats) -> float:
    """Of those that are not -1; -1 without any."""
    there = values[values > -1]
    return float(there.mean()) if there.size else -1.0
