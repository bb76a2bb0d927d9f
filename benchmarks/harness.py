"""Timing for a noisy machine: contenders take turns in one process, and ratios are quoted.

Before anything is timed every contender's result is compared with ours, on the inputs that are
then timed.
"""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

OURS = "fcos_ops"
COPY = "device copy"


@dataclass
class Case:
    """One op on one input.

    contenders: name -> function to time; one of them is OURS. Each returns what `agree` compares.
    agree: raises AssertionError unless (ours, theirs) agree.
    target: the least ratio best-other / ours that the project asks for, or None.
    bytes_moved: to and from memory at the least, where that bounds the time; else None.
    waits: contenders that wait for the device, so that a CUDA graph cannot capture them.
    """

    op: str
    name: str
    contenders: dict[str, Callable[[], Any]]
    agree: Callable[[Any, Any], None]
    target: float | None = None
    bytes_moved: int | None = None
    waits: frozenset[str] = frozenset()


@dataclass
class Timing:
    """Seconds of one contender: median, 20th and 80th percentile of `count` runs. captured: whether
    the time is that of a device alone, replaying a graph; False has the host's in it."""

    median: float
    p20: float
    p80: float
    count: int
    captured: bool = False


def summarise(seconds: list[float], captured: bool = False) -> Timing:
    ordered = sorted(seconds)
    last = len(ordered) - 1
    p20, p80 = ordered[round(0.2 * last)], ordered[round(0.8 * last)]
    return Timing(statistics.median(ordered), p20, p80, last + 1, captured)


class Clock(Protocol):
    captured: bool

    def __call__(self) -> float: ...


class WallClock:
    """Seconds of a call as the caller sees it: the mean of so many in a row that they last at least
    a millisecond."""

    captured = False

    def __init__(self, function: Callable[[], Any], capture: bool = False) -> None:
        self.function = function
        self.calls = 1
        self.calls = max(1, int(1e-3 / max(min(self(), self()), 1e-9)))

    def __call__(self) -> float:
        start = time.perf_counter()
        for _ in range(self.calls):
            self.function()
        return (time.perf_counter() - start) / self.calls


def with_copy(case: Case) -> Case:
    """The case with a contender that moves as many bytes and does nothing else: a copy of half of
    them. What a case without `bytes_moved` does is not bounded by memory."""
    if case.bytes_moved is None:
        return case
    source = torch.empty(case.bytes_moved // 2, dtype=torch.uint8)
    target = torch.empty_like(source)
    return replace(case, contenders={**case.contenders, COPY: lambda: target.copy_(source)})


def check(case: Case) -> None:
    """Compares every contender's result with ours."""
    ours = case.contenders[OURS]()
    for name, function in case.contenders.items():
        if name not in (OURS, COPY):
            case.agree(ours, function())


def run(
    case: Case,
    budget: float,
    make_clock: Callable[[Callable[[], Any], bool], Clock] = WallClock,
    minimum: int = 7,
) -> dict[str, Timing]:
    """Times the contenders of a case in turn, for about `budget` seconds; the slowest decides how
    many turns there are."""
    clocks = {
        name: make_clock(function, name not in case.waits)
        for name, function in case.contenders.items()
    }
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
    return {name: summarise(values, clocks[name].captured) for name, values in seconds.items()}
