"""Timing for a noisy machine: contenders take turns in one process, and ratios are quoted.

Before anything is timed every contender's result is compared with ours, on the inputs that are
then timed.
"""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

OURS = "fcos_ops"


@dataclass
class Case:
    """One op on one input.

    contenders: name -> function to time; one of them is OURS. Each returns what `agree` compares.
    agree: raises AssertionError unless (ours, theirs) agree.
    target: the least ratio best-other / ours that the project asks for, or None.
    """

    op: str
    name: str
    contenders: dict[str, Callable[[], Any]]
    agree: Callable[[Any, Any], None]
    target: float | None = None
    bytes_moved: int | None = None


@dataclass
class Timing:
    """Seconds of one contender: median, 20th and 80th percentile of `count` runs."""

    median: float
    p20: float
    p80: float
    count: int


def summarise(seconds: list[float]) -> Timing:
    ordered = sorted(seconds)
    last = len(ordered) - 1
    return Timing(
        statistics.median(ordered), ordered[round(0.2 * last)], ordered[round(0.8 * last)], last + 1
    )


class WallClock:
    """Seconds of a call as the caller sees it: the mean of so many in a row that they last at least
    a millisecond."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.calls = 1
        self.calls = max(1, int(1e-3 / max(min(self(), self()), 1e-9)))

    def __call__(self) -> float:
        start = time.perf_counter()
        for _ in range(self.calls):
            self.function()
        return (time.perf_counter() - start) / self.calls


def check(case: Case) -> None:
    """Compares every contender's result with ours."""
    ours = case.contenders[OURS]()
    for name, function in case.contenders.items():
        if name != OURS:
            case.agree(ours, function())


def run(
    case: Case,
    budget: float,
    make_clock: Callable[[Callable[[], Any]], Callable[[], float]] = WallClock,
    minimum: int = 7,
) -> dict[str, Timing]:
    """Times the contenders of a case in turn, for about `budget` seconds; the slowest decides how
    many turns there are."""
    clocks = {name: make_clock(function) for name, function in case.contenders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in case.contenders}
    gc.collect()
    gc.disable()
    try:
        deadline = time.perf_counter() + budget
        turn = 0
        while turn < minimum or (time.perf_counter() < deadline and turn < 400):
            for name, clock in clocks.items():
                seconds[name].append(clock())
            turn += 1
    finally:
        gc.enable()
    return {name: summarise(values) for name, values in seconds.items()}
