"""Trainings of six images, in one process or several, and their curves."""

from __future__ import annotations

import json
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from .helpers import SMALL

# float32 sums over the images in another order; measured: 3e-7 on the curves
ROUNDING = 1e-5


def train(data: Path, output: str, *more: str) -> list[str]:
    """Arguments of `fcos` for a run into the folder `output` of the data set."""
    options = ["--batch", "6", "--steps", "3", "--lr", "0.01", "--warmup", "0", "--log-every", "1"]
    return ["train", "--data", str(data), "--output", str(data / output), *SMALL, *options, *more]


def curve(output: Path) -> list[dict[str, Any]]:
    """The metrics without the times, which are no test's."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in lines]


def assert_same_curve(output: Path, expected: Path) -> None:
    """To rounding."""
    ours, theirs = curve(output), curve(expected)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=ROUNDING)


def wait_for_step(output: Path, step: int, processes: list[BaseProcess]) -> None:
    path = output / "metrics.jsonl"
    while all(process.is_alive() for process in processes):
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        if any(json.loads(line)["step"] >= step for line in lines if line.endswith("\n")):
            return
        time.sleep(0.01)
