"""Where commands compute, and how many processes load images beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from fcos.cli import main
from fcos.commands import devices
from fcos.commands import evaluate as evaluation
from fcos.commands import train as training
from fcos.commands.devices import default_workers
from fcos.distributed.launch import Launch
from fcos.training import load_checkpoint

from .helpers import SMALL


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (6, 6), (64, 8)])
def test_workers_beside_a_gpu(monkeypatch: pytest.MonkeyPatch, cores: int, workers: int) -> None:
    """Of the cores that this process may use, which a container or a batch system limits."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert default_workers(torch.device("cuda", 1), Launch()) == workers
    assert default_workers(torch.device("cuda", 1), Launch(3, 4, 1, 2)) == max(
        1, min(8, cores // 2)
    )
    assert default_workers(torch.device("cpu"), Launch()) == 0


def test_commands_take_what_is_given_or_the_default(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, seen = data / "run", []
    monkeypatch.setattr(training, "default_workers", lambda *_: 2)
    monkeypatch.setattr(devices, "default_workers", lambda *_: 3)
    detect = evaluation.detect_dataset

    def recorded(*arguments: object, workers: int, **more: object) -> object:
        seen.append(workers)
        return detect(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluation, "detect_dataset", recorded)
    arguments = ["train", "--data", str(data), "--output", str(output), *SMALL]
    assert main([*arguments, "--steps", "1"]) == 0
    assert load_checkpoint(output / "last.pth")["settings"]["workers"] == 2
    assert main([*arguments, "--steps", "2", "--resume", "--workers", "0"]) == 0
    assert load_checkpoint(output / "last.pth")["settings"]["workers"] == 0
    weights = ["--split", "train", "--weights", str(output / "last.pth"), "--device", "cpu"]
    assert main(["eval", "--data", str(data), *weights]) == 0
    assert main(["eval", "--data", str(data), *weights, "--workers", "1"]) == 0
    assert seen == [3, 1]
