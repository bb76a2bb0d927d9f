"""Which category was taken for which."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .coco_tables import ResultTable, TruthTable
from .matching import NO_OBJECT, match_images


def confusion(truth: TruthTable, found: ResultTable, *, min_score: float) -> NDArray[np.int64]:
    """Counts [K + 1, K + 1] of objects of category (row) found as category (column).

    The last row counts detections of what is no object, the last column objects that were not
    found: see `match_images`. Detections in a crowd are not counted.

    Args:
        min_score: detections from this score on.
    """
    nothing = len(truth.category_ids)
    counts = np.zeros((nothing + 1, nothing + 1), np.int64)
    for objects, detections, taken in match_images(truth, found, min_score=min_score):
        names, hits = found.categories[detections], taken >= 0
        np.add.at(counts, (truth.categories[taken[hits]], names[hits]), 1)
        np.add.at(counts[nothing], names[taken == NO_OBJECT], 1)
        missed = truth.categories[np.setdiff1d(objects, taken)]
        np.add.at(counts[:, nothing], missed, 1)
    return counts
