"""What a training leaves beside its weights, made of metrics.jsonl: a table and a picture."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from ..evaluation.average_precision import METRIC_NAMES
from ..files import atomic_path
from ..models import LOSS_NAMES
from ..names import CURVES_NAME, TABLE_NAME
from .metrics import read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = (
    *("step", "epoch", "lr", "loss", *(f"loss_{name}" for name in LOSS_NAMES)),
    *("gradient_norm", "seconds_per_step", "data_seconds_per_step", *METRIC_NAMES),
)
_FIRST_SECONDS = 60.0  # before the first update that nobody asked for
_SHARE = 0.01  # of the time, that updates may take
_MOST_POINTS = 300  # of a curve
_Lines = Sequence[dict[str, Any]]


class TrainingReport:
    """Writes metrics.csv and curves.png anew now and then, in a hundredth of the time at most.

    An error is said once and ends nothing: both can be made of metrics.jsonl at any time.

    Args:
        metrics: path of metrics.jsonl; the report lies beside it. None: there is to be none, as in
            all processes of a run but the first.
    """

    def __init__(self, metrics: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.metrics, self._clock = metrics, clock
        self._due = clock() + _FIRST_SECONDS
        self._failed = False

    def update(self, *, at_once: bool = False) -> None:
        """Write both files, where it is time to or they are to be there `at_once`."""
        begin = self._clock()
        if self.metrics is None or (begin < self._due and not at_once):
            return
        try:
            write_report(self.metrics)
        except Exception as error:
            if not self._failed:
                names = f"{TABLE_NAME} and {CURVES_NAME}"
                message = f"fcos: {names} could not be written, training goes on: {error!r}"
                tqdm.write(message, file=sys.stderr)
            self._failed = True
        end = self._clock()
        self._due = end + (end - begin) * (1 / _SHARE - 1)


def write_report(metrics: Path) -> None:
    """Write metrics.csv, and where there are two records or more curves.png, beside a
    metrics.jsonl."""
    lines = read_metrics(metrics)
    with atomic_path(metrics.with_name(TABLE_NAME)) as temporary:
        _write_table(temporary, lines)
    if sum("loss" in line for line in lines) > 1:
        with atomic_path(metrics.with_name(CURVES_NAME)) as temporary:
            _draw(lines).savefig(temporary, dpi=100)


def _write_table(path: Path, lines: _Lines) -> None:
    """A row for each step that has a line or two; what was not measured is empty."""
    rows: dict[int, dict[str, Any]] = {}
    for line in lines:
        measured = {name: value for name, value in line.items() if value != -1}
        rows.setdefault(line["step"], {}).update(measured)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows.values())


def _draw(lines: _Lines) -> Figure:
    """Losses, learning rate and, where there was an evaluation, average precision over epochs."""
    from matplotlib.figure import Figure

    records = [line for line in lines if "loss" in line]
    evaluations = [line for line in lines if line.get("AP", -1) != -1]
    rows = 3 if evaluations else 2
    figure = Figure((8, 3 * rows), layout="constrained")
    axes = figure.subplots(rows, sharex=True)
    for name in ("loss", *(f"loss_{part}" for part in LOSS_NAMES)):
        width = 1.8 if name == "loss" else 1.0
        _plot(axes[0], records, name, name.removeprefix("loss_"), linewidth=width)
    _plot(axes[1], records, "lr", "learning rate")
    if evaluations:
        for name in ("AP", "AP50"):
            _plot(axes[2], evaluations, name, name, marker="o", markersize=3)
        axes[2].set_ylim(bottom=0)
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    axes[-1].set_xlabel("epoch")
    return figure


def _plot(axes: Axes, lines: _Lines, name: str, label: str, **style: Any) -> None:
    """Means of neighbouring lines where there are many: the noise of single ones would hide the
    curves."""
    points = np.array([(line["epoch"], line[name]) for line in lines], np.float64)
    runs = np.array_split(points, min(len(points), _MOST_POINTS))
    epochs, values = np.array([run.mean(0) for run in runs]).T
    axes.plot(epochs, values, label=label, **style)
