"""Several processes train and evaluate as one would."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fcos.cli import main
from fcos.data import CocoDataset, find_split, training_loader
from fcos.detection.dataset import evaluate
from fcos.detectors import load_model
from fcos.training import load_checkpoint, save_checkpoint
from torch import Tensor

from .helpers import annotation, decided_model
from .processes import join_all, run_together, start_together
from .runs import ROUNDING, assert_same_curve, curve, train


def _difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """Relative, by the norm over all tensors."""
    one, other = (torch.cat([t.flatten().double() for t in all_]) for all_ in (ours, theirs))
    assert other.norm() > 0
    return float((one - other).norm() / other.norm())


def _gradients(output: Path) -> list[Tensor]:
    """Of the one step of a run without weight decay and clipping: what SGD's momentum began with.

    The settings of such a run are those of `ONE_STEP`.
    """
    state = load_checkpoint(output / "last.pth")["optimizer"]["state"]
    return [state[number]["momentum_buffer"] for number in sorted(state)]


ONE_STEP = ["--steps", "1", "--weight-decay", "0", "--clip", "0"]


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("norm", ["gn", "frozen_bn"])
def test_gradients_of_a_step(six_images: Path, world: int, norm: str) -> None:
    more = [*ONE_STEP, "--norm", norm]
    assert main(train(six_images, "one", *more)) == 0
    run_together(train(six_images, "several", *more), six_images, world)
    ours, theirs = (_gradients(six_images / name) for name in ("several", "one"))
    assert _difference(ours, theirs) < ROUNDING
    assert_same_curve(six_images / "several", six_images / "one")


def test_weights_after_three_steps_and_who_speaks(six_images: Path) -> None:
    """Steps of 6 of 5 images, so that the shares are other images each time; in parts, too."""
    more = ["--limit", "5", "--ema", "0.5"]
    assert main(train(six_images, "one", *more)) == 0
    begin = load_checkpoint(six_images / "one" / "last.pth")
    more += ["--accumulate", "3"]
    printed = run_together(train(six_images, "several", *more), six_images, 2)
    assert_same_curve(six_images / "several", six_images / "one")
    after = load_checkpoint(six_images / "several" / "last.pth")
    for part in ("model", "ema"):
        one, other = (c[part].get("model", c[part]) for c in (after, begin))
        assert _difference(list(one.values()), list(other.values())) < ROUNDING
    assert "3 steps of 6 images on cpu in 2 processes" in printed[0]
    assert printed[1] == ""
    runs = (six_images / name for name in ("one", "several"))
    one, several = (sorted(path.name for path in run.iterdir()) for run in runs)
    assert one == several


def test_only_the_first_process_writes(six_images: Path) -> None:
    other = six_images / "other"
    processes = start_together(
        train(six_images, "run"), six_images, 2, last=["--output", str(other)]
    )
    assert join_all(processes) == [0, 0]
    assert (six_images / "run" / "last.pth").exists() and not other.exists()


def test_shares_are_those_of_the_batch(six_images: Path) -> None:
    dataset = CocoDataset(*find_split(six_images, "train"))

    def ids(**more: int) -> list[int | str]:
        batches = iter(training_loader(dataset, batch=12, seed=3, start_step=2, **more))
        return [number for _ in range(more.get("parts", 1)) for number in next(batches).image_ids]

    whole = ids()
    for world, parts in ((1, 3), (2, 1), (2, 3), (3, 2), (12, 1)):
        shares = [ids(rank=rank, world=world, parts=parts) for rank in range(world)]
        assert [number for share in shares for number in share] == whole


def test_evaluation_by_three_gives_the_numbers_of_one(
    six_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seven images of different sizes, padded together by two as in one process."""
    weights = six_images / "decided.pth"
    save_checkpoint(weights, decided_model())
    arguments = ["eval", "--data", str(six_images), "--weights", str(weights), "--device", "cpu"]
    arguments += ["--batch", "2", "--output"]
    assert main([*arguments, str(six_images / "one.json")]) == 0
    expected = capsys.readouterr().out
    printed = run_together([*arguments, str(six_images / "three.json")], six_images, 3)
    results = json.loads((six_images / "one.json").read_text())
    assert len({result["image_id"] for result in results}) == 7
    assert json.loads((six_images / "three.json").read_text()) == results
    own_lines = printed[0][printed[0].rindex("7 images, ") :].replace("three.json", "one.json")
    assert own_lines == expected[expected.rindex("7 images, ") :]
    assert printed[1] == printed[2] == ""


def test_evaluation_in_training_is_that_of_what_is_saved(six_images: Path) -> None:
    """Batch norms have other statistics in each process, and only those of the first are saved.

    The truth is what that model finds, so that AP is high, and another model's lower."""
    weights = six_images / "decided.pth"
    save_checkpoint(weights, decided_model(norm="bn"))
    more = ["--weights", str(weights), "--norm", "bn", "--size", "40", "--steps", "1"]
    run_together(train(six_images, "before", *more), six_images, 2)
    model = load_model(six_images / "before" / "last.pth")
    val = six_images / "annotations" / "instances_val.json"

    def found() -> tuple[dict[str, float], list[dict[str, Any]]]:
        dataset = CocoDataset(*find_split(six_images, "val"), model.config.preprocessing)
        return evaluate(model, dataset, batch=6)

    best = sorted(found()[1], key=lambda result: -result["score"])[:40]
    truth = [annotation(r["image_id"], r["category_id"], r["bbox"]) for r in best]
    val.write_text(json.dumps({**json.loads(val.read_text()), "annotations": truth}))
    run_together(train(six_images, "several", *more, "--eval-every", "1"), six_images, 2)
    expected, _ = found()
    _, evaluated = curve(six_images / "several")
    assert {name: evaluated[name] for name in expected} == expected and expected["AP"] > 0.5


def test_torchrun(six_images: Path) -> None:
    assert main(train(six_images, "one")) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node", "2", "-m", "fcos", *train(six_images, "several")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "3 steps of 6 images on cpu in 2 processes" in done.stdout
    assert done.stdout.count("wrote ") == 1
    assert_same_curve(six_images / "several", six_images / "one")
