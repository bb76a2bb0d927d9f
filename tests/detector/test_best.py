"""best.pth: the weights with the best AP of --eval-every, whatever stops the run."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from fcos.cli import main
from fcos.commands import train
from fcos.training import Trainer, load_checkpoint

from .helpers import SMALL, annotation, image_entry, write_dataset

STEPS = ["--steps", "4", "--log-every", "1", "--eval-every", "0.5"]


@pytest.fixture
def curve(data: Path, monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """AP by step that evaluations find, instead of evaluating, in a data set with a part val."""
    write_dataset(data, "val", [image_entry(1, 64, 64)], [annotation(1, 3, [8, 8, 20, 20])])
    values: dict[int, float] = {}

    def evaluate(trainer: Trainer, *_: Any) -> dict[str, float]:
        return {"AP": values[trainer.step], "AP50": 0.5}

    monkeypatch.setattr(train, "_evaluate", evaluate)
    return values


def _train(data: Path, *more: str) -> int:
    return main(["train", "--data", str(data), "--output", str(data / "run"), *SMALL, *more])


def _best(data: Path) -> dict[str, Any]:
    found = load_checkpoint(data / "run" / "best.pth")["best"]
    assert isinstance(found, dict)
    return found


def test_the_first_of_the_best_is_kept(
    data: Path, curve: dict[int, float], capsys: pytest.CaptureFixture[str]
) -> None:
    curve |= {1: 0.1, 2: 0.3, 3: 0.3, 4: 0.2}
    assert _train(data, *STEPS) == 0
    assert _best(data) == {"AP": 0.3, "step": 2, "epoch": 1.0}
    out = capsys.readouterr().out
    assert out.count("the best AP so far") == 2 and "best.pth holds AP 0.300 of epoch 1\n" in out


def test_no_evaluation_is_late_by_a_rounding(data: Path, curve: dict[int, float]) -> None:
    """Ten images: step 3 is epoch 0.3, and 0.3 / 0.1 is 2.9999999999999996."""
    images = [image_entry(i, 48, 48) for i in range(1, 11)]
    write_dataset(data, "train", images, [annotation(i, 3, [8, 8, 20, 20]) for i in range(1, 11)])
    curve |= dict.fromkeys(range(1, 5), 0.1)
    assert _train(data, "--batch", "1", *STEPS[:4], "--eval-every", "0.1") == 0
    lines = (data / "run" / "metrics.jsonl").read_text().splitlines()
    evaluated = [line["step"] for line in map(json.loads, lines) if "AP" in line]
    assert evaluated == [1, 2, 3, 4]


@pytest.mark.parametrize(("later", "step"), [(0.2, 2), (0.4, 4)])
def test_a_run_that_resumes_knows_the_best(
    data: Path, curve: dict[int, float], later: float, step: int
) -> None:
    curve |= {1: 0.1, 2: 0.3, 3: later, 4: later}
    assert _train(data, *STEPS[2:], "--steps", "2") == 0
    curve[3] = 0.25
    assert _train(data, *STEPS, "--resume") == 0
    assert _best(data)["step"] == step


@pytest.mark.parametrize("ema", ["0", "0.9"])
def test_it_holds_the_weights_that_were_evaluated(
    data: Path, curve: dict[int, float], ema: str
) -> None:
    """The averaged ones where there are such; nothing that only a training needs."""
    curve |= {1: 0.1, 2: 0.3}
    assert _train(data, "--steps", "2", *STEPS[2:], "--ema", ema) == 0
    last = load_checkpoint(data / "run" / "last.pth")
    best = load_checkpoint(data / "run" / "best.pth")
    expected = last["model"] if ema == "0" else last["ema"]["model"]
    assert all(torch.equal(best["model"][name], expected[name]) for name in expected)
    assert best.keys() == {"format", "config", "model", "best"}
    sizes = [(data / "run" / name).stat().st_size for name in ("best.pth", "last.pth")]
    assert sizes[0] < 0.6 * sizes[1]


def test_other_commands_take_it(
    data: Path, curve: dict[int, float], capsys: pytest.CaptureFixture[str]
) -> None:
    curve |= {1: 0.1}
    assert _train(data, "--steps", "1", *STEPS[2:]) == 0
    weights = ["--weights", str(data / "run" / "best.pth")]
    assert main(["eval", "--data", str(data), *weights, "--device", "cpu"]) == 0
    image = str(data / "val" / "1.png")
    assert main(["detect", image, *weights, "--output", str(data / "found")]) == 0
    more = ["--output", str(data / "next"), "--steps", "1", "--batch", "2", "--device", "cpu"]
    assert main(["train", "--data", str(data), *weights, *more]) == 0
    os.replace(data / "run" / "best.pth", data / "run" / "last.pth")
    capsys.readouterr()
    assert _train(data, "--resume") == 2
    assert "last.pth: holds a model, but no " in capsys.readouterr().err


@pytest.mark.parametrize("stop", ["signal", "disk"])
def test_nothing_is_lost_between_the_two_files(
    data: Path, curve: dict[int, float], monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    """Stopped once best.pth is written, before the line that says so."""
    curve |= {1: 0.1, 2: 0.3, 3: 0.2, 4: 0.2}
    write = Trainer.write_metrics

    def stopped(trainer: Trainer, values: dict[str, Any]) -> None:
        if "AP" in values and trainer.step == 2:
            if stop == "disk":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.kill(os.getpid(), signal.SIGTERM)
            trainer.signals.check()
        write(trainer, values)

    monkeypatch.setattr(Trainer, "write_metrics", stopped)
    assert _train(data, *STEPS) == (2 if stop == "disk" else 128 + signal.SIGTERM)
    assert _best(data)["step"] == 2
    monkeypatch.setattr(Trainer, "write_metrics", write)
    assert _train(data, *STEPS, "--resume") == 0
    lines = [json.loads(x) for x in (data / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["AP"] for line in lines if "AP" in line] == [0.1, 0.3, 0.2, 0.2]
    assert _best(data)["step"] == 2


def test_nothing_to_measure_is_not_the_best(data: Path, curve: dict[int, float]) -> None:
    curve |= {1: -1.0}
    assert _train(data, "--steps", "1", *STEPS[2:]) == 0
    assert not (data / "run" / "best.pth").exists()


def test_the_best_of_another_run_is_never_replaced(
    data: Path, curve: dict[int, float], capsys: pytest.CaptureFixture[str]
) -> None:
    curve |= {1: 0.1}
    assert _train(data, "--steps", "1", *STEPS[2:]) == 0
    (data / "run" / "last.pth").unlink()
    before = (data / "run" / "best.pth").read_bytes()
    assert _train(data, "--steps", "1") == 2
    assert "best.pth exists, of another training: choose another" in capsys.readouterr().err
    assert (data / "run" / "best.pth").read_bytes() == before


@pytest.mark.parametrize("change", [{"best": {}}, {"best": {"AP": "0.3"}}, {"best": 3}])
def test_a_best_that_was_edited(
    data: Path,
    curve: dict[int, float],
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
) -> None:
    curve |= {1: 0.1, 2: 0.1}
    assert _train(data, "--steps", "1", *STEPS[2:]) == 0
    path = data / "run" / "best.pth"
    torch.save({**load_checkpoint(path), **change}, path)
    capsys.readouterr()
    assert _train(data, "--steps", "2", *STEPS[2:], "--resume") == 2
    assert (
        f"{path} must be a checkpoint of `fcos train`, its part 'best'" in capsys.readouterr().err
    )
