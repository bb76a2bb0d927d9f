"""Whatever stops a training, it resumes as if nothing had."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from fcos.cli import main
from fcos.commands import train
from fcos.data import CocoDataset, find_split, training_loader
from fcos.errors import TrainingError, UserError
from fcos.interrupts import Interrupted, StopSignals
from fcos.memory import is_out_of_memory
from fcos.models import FCOS
from fcos.preprocessing import Preprocessing
from fcos.training import Trainer, TrainingSettings, load_checkpoint
from fcos.training.metrics import append_metrics
from torch import Tensor

from .helpers import SMALL, annotation, image_entry, small_model, write_dataset
from .processes import run, start, start_worker

FILES = ["config.json", "curves.png", "first_batch.png", "last.pth", "metrics.csv", "metrics.jsonl"]
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


def _curve(output: Path) -> list[dict[str, float]]:
    """The metrics without the times."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in lines]


def _weights(output: Path) -> dict[str, Tensor]:
    return load_checkpoint(output / "last.pth")["model"]


def _assert_equal(output: Path, whole: Path) -> None:
    """Curves and weights, bit for bit."""
    assert _curve(output) == _curve(whole)
    ours, theirs = _weights(output), _weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


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
    assert [line["step"] for line in _curve(ten_images / "run")] == [5, 10, 12]
    _assert_equal(ten_images / "run", ten_images / "whole")


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
    _assert_equal(ten_images / "run", ten_images / "whole")


@pytest.mark.parametrize("accumulate", [1, 2])
def test_out_of_memory_loses_nothing(
    ten_images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    accumulate: int,
) -> None:
    """In the forward pass of a step: the statistics of the norms are those of the step before."""
    options = [*_arguments(ten_images, ten_images / "run")[5:], "--log-every", "3", "--norm", "bn"]
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
    _assert_equal(ten_images / "run", ten_images / "whole")


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
    _assert_equal(ten_images / "run", ten_images / "whole")


def test_a_data_error_says_what_is_kept(
    ten_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (ten_images / "train" / "3.png").write_bytes(b"broken")
    arguments = _arguments(ten_images, ten_images / "run")
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


def _arguments(data: Path, output: Path, *more: str) -> list[str]:
    options = ["--steps", "16", "--checkpoint-every", "1", "--log-every", "1"]
    options += ["--scales", "48-64,80", "--colour-jitter", "0.5", "--aspect-groups"]
    return ["train", "--data", str(data), "--output", str(output), *SMALL, *options, *more]


def _last_step(output: Path) -> int:
    path = output / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return max((json.loads(line)["step"] for line in lines if line.endswith("\n")), default=0)


def test_killed_at_ten_random_moments(data: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    log, output = tmp_path / "log", tmp_path / "run"
    for _ in range(10):
        resume = ["--resume"] if (output / "last.pth").exists() else []
        process = start(_arguments(data, output, *resume), log)
        target = _last_step(output) + rng.randrange(3)
        while process.is_alive() and _last_step(output) < target:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), log.read_text()
        if (output / "last.pth").exists():
            assert load_checkpoint(output / "last.pth")["step"] >= target - 3
    assert 0 < load_checkpoint(output / "last.pth")["step"]
    for arguments in (_arguments(data, output, "--resume"), _arguments(data, tmp_path / "whole")):
        status, printed = run(arguments, log)
        assert status == 0, printed
    _assert_equal(output, tmp_path / "whole")
    assert sorted(path.name for path in output.iterdir()) == FILES


@pytest.mark.parametrize(
    ("number", "workers"), [(signal.SIGINT, 0), (signal.SIGINT, 2), (signal.SIGTERM, 2)]
)
def test_a_signal_to_the_command(data: Path, tmp_path: Path, number: int, workers: int) -> None:
    """To the whole process group, as by Ctrl-C or by a batch system."""
    log, output = tmp_path / "log", tmp_path / "run"
    more = ["--workers", str(workers), "--steps", "100000", "--checkpoint-every", "99999"]
    process = start(_arguments(data, output, *more), log)
    while process.is_alive() and _last_step(output) < 3:
        time.sleep(0.01)
    assert process.pid is not None
    os.killpg(process.pid, number)
    process.join()
    printed = log.read_text()
    assert process.exitcode == 128 + number, printed
    step = load_checkpoint(output / "last.pth")["step"]
    assert step == _last_step(output) >= 3 and "Traceback" not in printed
    assert f"last.pth holds step {step}: --resume goes on from there" in printed
    assert f"fcos: interrupted by {signal.Signals(number).name}" in printed


def test_a_worker_that_is_killed(data: Path, tmp_path: Path) -> None:
    """As by the kernel where memory is short; at any moment, even in the middle of a step."""
    log, output = tmp_path / "log", tmp_path / "run"
    more = ["--workers", "1", "--steps", "100000", "--checkpoint-every", "99999"]
    process = start(_arguments(data, output, *more), log)
    while process.is_alive() and _last_step(output) < 3:
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    process.join()
    printed = log.read_text()
    assert process.exitcode == 2 and "Traceback" not in printed, printed
    step = load_checkpoint(output / "last.pth")["step"]
    assert step == _last_step(output) >= 3
    assert f"last.pth holds step {step}: --resume goes on from there" in printed
    line = printed.splitlines()[-1]
    assert line.startswith("fcos: error: a process that loads images was killed, as where memory")
    assert "/dev/shm" in line and "--workers" in line


def test_two_trainings_in_one_folder(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    process = start(_arguments(data, output, "--steps", "100000"), tmp_path / "log")
    while process.is_alive() and not (output / "last.pth").exists():
        time.sleep(0.01)
    assert main(_arguments(data, output, "--resume", "--steps", "100001")) == 2
    error = f"fcos: error: another training writes into {output}"
    assert error in capsys.readouterr().err
    process.kill()
    process.join()
    step = load_checkpoint(output / "last.pth")["step"]
    assert main(_arguments(data, output, "--resume", "--steps", f"{step + 1}")) == 0
    assert sorted(path.name for path in output.iterdir()) == FILES


def test_workers_leave_signals_to_the_main_process(tmp_path: Path) -> None:
    process = start_worker(tmp_path / "ready")
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(0.5)
    assert process.is_alive()
    process.terminate()
    process.join()
    assert process.exitcode == 0  # any other would raise an error in the main process


def test_an_evaluation_that_is_interrupted_loses_no_training(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A signal stops it at once, and the run that resumes evaluates."""
    write_dataset(data, "val", [image_entry(1, 64, 64)], [annotation(1, 3, [8, 8, 20, 20])])
    evaluate, output = train._evaluate, tmp_path / "run"

    def signalled(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it goes on")

    more = ["--eval-every", "0.5", "--steps", "4", "--checkpoint-every", "9"]
    arguments = _arguments(data, output, *more)
    monkeypatch.setattr(train, "_evaluate", signalled)
    assert main(arguments) == 128 + signal.SIGTERM
    assert "last.pth holds step 1" in capsys.readouterr().out
    monkeypatch.setattr(train, "_evaluate", evaluate)
    assert main([*arguments, "--resume"]) == 0
    assert [line["step"] for line in _curve(output) if "AP" in line] == [1, 2, 3, 4]


def _interrupt_evaluation(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The evaluation of this number, from 1 on, is interrupted; the others are done."""
    evaluate, calls = train._evaluate, []

    def counted(*arguments: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGINT)
        return evaluate(*arguments, **more)

    monkeypatch.setattr(train, "_evaluate", counted)


@pytest.mark.parametrize(("every", "stopped"), [("100", 1), ("2.5", 1), ("2.5", 2)])
def test_an_evaluation_that_was_interrupted_is_made_up(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: str, stopped: int
) -> None:
    """At its step, be it the last one or not, so that the curve is that of an unbroken run."""
    write_dataset(data, "val", [image_entry(1, 64, 64)], [annotation(1, 3, [8, 8, 20, 20])])
    more = ["--eval-every", every, "--steps", "8", "--log-every", "3"]
    assert main(_arguments(data, tmp_path / "whole", *more)) == 0
    arguments = _arguments(data, tmp_path / "run", *more)
    _interrupt_evaluation(monkeypatch, stopped)
    assert main(arguments) == 130
    assert main([*arguments, "--resume"]) == 0
    _assert_equal(tmp_path / "run", tmp_path / "whole")
    assert main([*arguments, "--resume"]) == 0  # nothing is left to do
    _assert_equal(tmp_path / "run", tmp_path / "whole")


def test_a_second_signal_at_the_end_is_not_heard(data: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    more = ["--workers", "2", "--steps", "100000", "--checkpoint-every", "99999"]
    process = start(_arguments(data, tmp_path / "run", *more), log)
    while process.is_alive() and _last_step(tmp_path / "run") < 3:
        time.sleep(0.01)
    assert process.pid is not None
    os.killpg(process.pid, signal.SIGINT)
    while process.is_alive():
        if "fcos: interrupted" in log.read_text():
            with suppress(ProcessLookupError):  # it may end in between
                os.kill(process.pid, signal.SIGINT)
        time.sleep(0.01)
    process.join()
    assert process.exitcode == 130
    assert log.read_text().splitlines()[-1] == "fcos: interrupted by SIGINT"


def test_a_signal_that_is_ignored_stays_so() -> None:
    """A shell starts a job in the background of a script so."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGINT)
            assert not signals
            signals.check()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_second_signal_interrupts_at_once() -> None:
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted, match="SIGINT"):
            signals.check()
        with pytest.raises(Interrupted, match="SIGTERM"):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)


def test_signals_open_within_signals() -> None:
    with StopSignals() as signals:
        with signals:
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted, match="SIGTERM"):
            signals.check()
