"""Trainings to be stopped, resumed or shared among processes, and what they leave."""

from __future__ import annotations

import json
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from fcos.training import load_checkpoint
from torch import Tensor

from .helpers import SMALL

# float32 sums over the images in another order; measured: 3e-7 on the curves
ROUNDING = 1e-5


def train(data: Path, output: str, *more: str) -> list[str]:
    """Arguments of `fcos` for a run of three steps of six images into `data` / `output`."""
    options = ["--batch", "6", "--steps", "3", "--lr", "0.01", "--warmup", "0", "--log-every", "1"]
    return ["train", "--data", str(data), "--output", str(data / output), *SMALL, *options, *more]


def train_drawn(data: Path, output: Path, *more: str) -> list[str]:
    """Arguments of `fcos` for a run of 16 steps, each with a record and a checkpoint, in which all
    that can be drawn for an image is drawn."""
    options = ["--steps", "16", "--checkpoint-every", "1", "--log-every", "1"]
    options += ["--scales", "48-64,80", "--colour-jitter", "0.5", "--aspect-groups"]
    return ["train", "--data", str(data), "--output", str(output), *SMALL, *options, *more]


def curve(output: Path) -> list[dict[str, Any]]:
    """The metrics without the times, which are no test's."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in lines]


def weights(output: Path) -> dict[str, Tensor]:
    return load_checkpoint(output / "last.pth")["model"]


def assert_equal(output: Path, expected: Path) -> None:
    """Curves and weights, bit for bit."""
    assert curve(output) == curve(expected)
    ours, theirs = weights(output), weights(expected)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def assert_same_curve(output: Path, expected: Path) -> None:
    """To rounding."""
    ours, theirs = curve(output), curve(expected)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=ROUNDING)


def last_step(output: Path) -> int:
    """Of the metrics, while a run writes them."""
    path = output / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return max((json.loads(line)["step"] for line in lines if line.endswith("\n")), default=0)


def wait_for_step(output: Path, step: int, processes: list[BaseProcess]) -> None:
    """Until it is in the metrics, or one of the processes has ended."""
    while all(process.is_alive() for process in processes) and last_step(output) < step:
        time.sleep(0.01)
