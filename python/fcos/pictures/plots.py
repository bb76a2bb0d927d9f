"""What an evaluation says as pictures: precision-recall curves, and confusions of classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..evaluation.average_precision import RECALLS, Evaluation
from ..evaluation.coco_tables import Floats
from ..evaluation.confusion import confusion
from ..evaluation.matching import MIN_IOU
from ..evaluation.report import short_name
from ..files import atomic_path
from .fonts import can_plot, families, one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRECISION_RECALL_NAME = "precision_recall.png"
CONFUSION_NAME = "confusion.png"
PLOT_NAMES = (PRECISION_RECALL_NAME, CONFUSION_NAME)
_NAMED_CURVES = 10  # more colours are hard to tell apart
_COUNTED_CLASSES = 30  # beyond, numbers in the cells are too small to read


def write_plots(
    evaluation: Evaluation, names: Sequence[str], folder: Path, *, min_score: float
) -> None:
    """Write the pictures of `PLOT_NAMES` into a folder.

    Args:
        names: of the categories, in the order of their ids.
        min_score: of the detections that the confusions count.
    """
    from matplotlib import rc_context

    known = zip(evaluation.truth.category_ids, names, strict=True)
    of_id = {number: _label(number, name) for number, name in known}
    labels = list(of_id.values())
    curves = [(of_id[number], curve) for number, curve in evaluation.curves().items()]
    counts = confusion(evaluation.truth, evaluation.found, min_score=min_score)
    with rc_context({"font.family": families(labels)}):
        figures = {
            PRECISION_RECALL_NAME: _draw_curves(curves),
            CONFUSION_NAME: _draw_confusion(counts, labels, min_score),
        }
        for name, figure in figures.items():
            with atomic_path(folder / name) as temporary:
                figure.savefig(temporary, dpi=120)


def _draw_curves(curves: Sequence[tuple[str, Floats]]) -> Figure:
    """Each category, named where they are few, and the mean."""
    from matplotlib.figure import Figure

    figure = Figure((7, 5), layout="constrained")
    axes = figure.add_subplot(
        title="precision and recall at an IoU of 0.5",
        xlabel="recall",
        ylabel="precision, at this recall or beyond",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )
    named = len(curves) <= _NAMED_CURVES
    for name, curve in curves:
        label = f"{name} {curve.mean():.3f}" if named else None
        axes.plot(RECALLS, curve, linewidth=1, color=None if named else "0.8", label=label)
    if curves:
        mean = np.mean([curve for _, curve in curves], axis=0)
        label = f"mean of {len(curves)} {mean.mean():.3f}"
        axes.plot(RECALLS, mean, color="black", linewidth=2.5, label=label)
        axes.legend(title="AP50", fontsize="small")
    axes.grid(alpha=0.3)
    return figure


def _draw_confusion(counts: NDArray[np.int64], names: Sequence[str], min_score: float) -> Figure:
    """Colours are shares of a row; numbers are counts."""
    from matplotlib.figure import Figure

    side = min(20.0, 3 + 0.4 * len(counts))
    figure = Figure((side + 1, side), layout="constrained")
    title = f"objects (rows) found as (columns), score >= {min_score:g}, IoU >= {MIN_IOU:g}"
    axes = figure.add_subplot(title=title, xlabel="detection", ylabel="ground truth")
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, label="share of the row", shrink=0.7)
    size = 9 if len(counts) <= _COUNTED_CLASSES else 5
    places = range(len(counts))
    axes.set_xticks(places, [*names, "nothing"], rotation=90, fontsize=size)
    axes.set_yticks(places, [*names, "nothing"], fontsize=size)
    if len(counts) <= _COUNTED_CLASSES:
        for row, column in np.argwhere(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            count = str(counts[row, column])
            axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=8)
    return figure


def _label(number: int, name: str) -> str:
    """A category's name, if fonts of this system can draw it; else its id, as in pictures."""
    if not can_plot(name):
        return f"category {number}"
    label = short_name(one_line(name)).replace("$", r"\$")  # which begins a formula
    return f" {label}" if label.startswith("_") else label  # else matplotlib's legend leaves it out
