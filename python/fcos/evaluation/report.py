"""What an evaluation says as text: metrics and a table of the classes."""

from __future__ import annotations

from collections.abc import Sequence

from .average_precision import ClassResult

NOTHING_TO_MEASURE = "nothing to measure: the data set has no objects to find (crowds do not count)"
_LONGEST_NAME = 24  # characters


def format_metrics(metrics: dict[str, float]) -> str:
    """The twelve numbers in two lines, "-" where no such objects are; or why there are none."""
    if metrics["AP"] == -1:
        return NOTHING_TO_MEASURE
    cells = [f"{name} {_number(value)}" for name, value in metrics.items()]
    return "  ".join(cells[:6]) + "\n" + "  ".join(cells[6:])


def class_table(classes: Sequence[ClassResult], names: Sequence[str]) -> str:
    """A line for each category, and one that names the columns."""
    width = max(len("class"), *(len(short_name(name)) for name in names))
    lines = [f"{'class':<{width}}     AP   AP50  boxes  best score threshold"]
    for own, name in zip(classes, names, strict=True):
        score = "-" if own.score is None else f"{own.score:.3f}"
        cells = f"{_number(own.ap)}  {_number(own.ap50)}  {own.boxes:>5}  {score}"
        lines.append(f"{short_name(name):<{width}}  {cells}")
    return "\n".join(lines)


def short_name(name: str) -> str:
    """A class's name, cut to `_LONGEST_NAME` characters, in tables and plots alike."""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."


def _number(value: float) -> str:
    return "    -" if value == -1 else f"{value:.3f}"
