"""Whatever stops a training, it resumes as if nothing had."""

from __future__ import annotations

import errno
import os
import signal
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from fcos.cli import main
from fcos.data import CocoDataset, find_split, training_loader
from fcos.errors import TrainingError, UserError
from fcos.interrupts import Interrupted
from fcos.memory import is_out_of_memory
from fcos.models import FCOS
from fcos.preprocessing import Preprocessing
from fcos.training import Trainer, TrainingSettings, load_checkpoint
from fcos.training.metrics import append_metrics
from torch import Tensor

from .helpers import annotation, image_entry, small_model, write_dataset
from .runs import assert_equal, curve, train_drawn

# all that is drawn for an image is on, so that it must be drawn alike again
DRAWN = {"scales": "30-40", "colour_jitter": 0.5, "aspect_groups": True}
SETTINGS = {"steps": 12, "batch": 1, "warmup": 0, "log_every": 5, "checkpoint_every": 1000} | DRAWN


@pytest.fixture
def ten_images(tmp_path: Path) -> Path:
    images = [image_entry(i, 48, 40) for i in range(1, 11)]
    boxes = [annotation(i, 3, [2 * i, i, 20, 24]) for i in range(1, 11)]
    write_dataset(tmp_path, "train", images, boxes)
    return tmp_path


def _trainer(data: Path, output: Path, **changes: Any) -> Trainer:
    dataset = CocoDataset(*find_split(data, "train"), Preprocessing(size=40, max_size=64))
    return Trainer(small_model(), dataset, TrainingSettings(**SETTINGS | changes), output)


def _finish(trainer: Trainer) -> None:
    for _ in trainer.run(progress=False):
        pass


def _resume(data: Path, **changes: Any) -> None:
    trainer = _trainer(data, data / "run", **changes)
    trainer.resume(load_checkpoint(data / "run" / "last.pth", to_resume=True))
    _finish(trainer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_step_7_of_an_epoch(
    ten_images: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    _finish(_trainer(ten_images, ten_images / "whole"))
    before = signal.getsignal(number)
    trainer = _trainer(ten_images, ten_images / "run")
    step = trainer.train_step

    def signalled(batch: Any) -> Tensor:
        if trainer.step == 6:
            os.kill(os.getpid(), number)
        return step(batch)

    monkeypatch.setattr(trainer, "train_step", signalled)
    with pytest.raises(Interrupted) as raised:
        _finish(trainer)
    assert raised.value.number == number and signal.getsignal(number) is before
    assert load_checkpoint(ten_images / "run" / "last.pth")["step"] == 7
    append_metrics(ten_images / "run" / "metrics.jsonl", {"step": 9})  # as if killed later
    _resume(ten_images)
    assert [line["step"] for line in curve(ten_images / "run")] == [5, 10, 12]
    assert_equal(ten_images / "run", ten_images / "whole")


def test_last_is_written_once_an_epoch(ten_images: Path) -> None:
    steps = []
    trainer = _trainer(ten_images, ten_images / "run", steps=9, batch=4, log_every=100)
    for _ in trainer.run(progress=False):
        steps.append(load_checkpoint(ten_images / "run" / "last.pth")["step"])
    assert steps == [3, 5, 8, 9]  # ten images end within steps 3, 5 and 8 of four


def test_an_error_of_the_data_loses_nothing(ten_images: Path) -> None:
    _finish(_trainer(ten_images, ten_images / "whole"))
    trainer = _trainer(ten_images, ten_images / "run")
    loader = training_loader(trainer.dataset, batch=1, seed=0, aspect_groups=True)
    order = [batch.image_ids[0] for batch in islice(loader, 4)]
    broken = ten_images / "train" / f"{order[3]}.png"
    content = broken.read_bytes()
    broken.write_bytes(content[:100])
    with pytest.raises(UserError, match=f"cannot read the image .*{broken.name}"):
        _finish(trainer)
    assert load_checkpoint(ten_images / "run" / "last.pth")["step"] == 3
    broken.write_bytes(content)
    _resume(ten_images)
    assert_equal(ten_images / "run", ten_images / "whole")


@pytest.mark.parametrize("accumulate", [1, 2])
def test_out_of_memory_loses_nothing(
    ten_images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    accumulate: int,
) -> None:
    """In the forward pass of a step: the statistics of the norms are those of the step before."""
    options = [*train_drawn(ten_images, ten_images / "run")[5:], "--log-every", "3", "--norm", "bn"]
    options += ["--steps", "4", "--checkpoint-every", "99", "--accumulate", str(accumulate)]
    arguments = ["train", "--data", str(ten_images), "--output"]
    assert main([*arguments, str(ten_images / "whole"), *options]) == 0
    losses, calls = FCOS.losses, []

    def greedy(*inputs: Any) -> Any:
        calls.append(1)
        if len(calls) == 3 * accumulate:  # in the last part of step 3
            torch.empty(1 << 60, dtype=torch.uint8)
        return losses(*inputs)

    monkeypatch.setattr(FCOS, "losses", greedy)
    assert main([*arguments, str(ten_images / "run"), *options]) == 2
    captured = capsys.readouterr()
    assert "last.pth holds step 2: --resume goes on from there" in captured.out
    assert captured.err.splitlines()[-1].startswith("fcos: error: out of memory: take a smaller")
    assert "Traceback" not in captured.err
    assert main([*arguments, str(ten_images / "run"), *options, "--resume"]) == 0
    assert_equal(ten_images / "run", ten_images / "whole")


def test_what_ran_out_in_the_optimizer_is_not_saved(
    ten_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of the weights may have changed."""
    trainer = _trainer(ten_images, ten_images / "run")

    def greedy() -> None:
        raise MemoryError

    monkeypatch.setattr(trainer.state.optimizer, "step", greedy)
    with pytest.raises(MemoryError):
        _finish(trainer)
    assert not (ten_images / "run" / "last.pth").exists()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_running_out_of_memory_looks_like(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


def test_a_metrics_line_that_cannot_be_written_loses_nothing(
    ten_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _finish(_trainer(ten_images, ten_images / "whole"))
    trainer = _trainer(ten_images, ten_images / "run")

    def refuse(values: dict[str, float]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(trainer, "write_metrics", refuse)
    with pytest.raises(OSError, match="No space left"):
        _finish(trainer)
    assert load_checkpoint(ten_images / "run" / "last.pth")["step"] == 5
    _resume(ten_images)
    assert_equal(ten_images / "run", ten_images / "whole")


def test_a_data_error_says_what_is_kept(
    ten_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (ten_images / "train" / "3.png").write_bytes(b"broken")
    arguments = train_drawn(ten_images, ten_images / "run")
    assert main([*arguments, "--batch", "1", "--seed", "1", "--checkpoint-every", "99"]) == 2
    step = load_checkpoint(ten_images / "run" / "last.pth")["step"]
    assert f"last.pth holds step {step}: --resume goes on" in capsys.readouterr().out


def test_weights_that_are_not_finite_are_not_saved_on_a_signal(
    ten_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = _trainer(ten_images, ten_images / "run", log_every=100, checkpoint_every=100)

    def signalled(_: Any) -> Tensor:
        trainer.state.step += 1
        os.kill(os.getpid(), signal.SIGINT)
        return torch.full((4,), torch.nan)

    monkeypatch.setattr(trainer, "train_step", signalled)
    with pytest.raises(TrainingError, match="not finite at step 1"):
        _finish(trainer)
    assert not (ten_images / "run" / "last.pth").exists()
