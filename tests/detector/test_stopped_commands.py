"""Commands that are killed, or get a signal, in processes of their own."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from fcos.cli import main
from fcos.training import load_checkpoint

from .processes import run, start, start_worker
from .runs import assert_equal, last_step, train_drawn, wait_for_step

FILES = ["config.json", "curves.png", "first_batch.png", "last.pth", "metrics.csv", "metrics.jsonl"]


def test_killed_at_ten_random_moments(data: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    log, output = tmp_path / "log", tmp_path / "run"
    for _ in range(10):
        resume = ["--resume"] if (output / "last.pth").exists() else []
        process = start(train_drawn(data, output, *resume), log)
        target = last_step(output) + rng.randrange(3)
        while process.is_alive() and last_step(output) < target:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), log.read_text()
        if (output / "last.pth").exists():
            assert load_checkpoint(output / "last.pth")["step"] >= target - 3
    assert 0 < load_checkpoint(output / "last.pth")["step"]
    for arguments in (train_drawn(data, output, "--resume"), train_drawn(data, tmp_path / "whole")):
        status, printed = run(arguments, log)
        assert status == 0, printed
    assert_equal(output, tmp_path / "whole")
    assert sorted(path.name for path in output.iterdir()) == FILES


@pytest.mark.parametrize(
    ("number", "workers"), [(signal.SIGINT, 0), (signal.SIGINT, 2), (signal.SIGTERM, 2)]
)
def test_a_signal_to_the_command(data: Path, tmp_path: Path, number: int, workers: int) -> None:
    """To the whole process group, as by Ctrl-C or by a batch system."""
    log, output = tmp_path / "log", tmp_path / "run"
    more = ["--workers", str(workers), "--steps", "100000", "--checkpoint-every", "99999"]
    process = start(train_drawn(data, output, *more), log)
    wait_for_step(output, 3, [process])
    assert process.pid is not None
    os.killpg(process.pid, number)
    process.join()
    printed = log.read_text()
    assert process.exitcode == 128 + number, printed
    step = load_checkpoint(output / "last.pth")["step"]
    assert step == last_step(output) >= 3 and "Traceback" not in printed
    assert f"last.pth holds step {step}: --resume goes on from there" in printed
    assert f"fcos: interrupted by {signal.Signals(number).name}" in printed


def test_a_worker_that_is_killed(data: Path, tmp_path: Path) -> None:
    """As by the kernel where memory is short; at any moment, even in the middle of a step."""
    log, output = tmp_path / "log", tmp_path / "run"
    more = ["--workers", "1", "--steps", "100000", "--checkpoint-every", "99999"]
    process = start(train_drawn(data, output, *more), log)
    wait_for_step(output, 3, [process])
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    process.join()
    printed = log.read_text()
    assert process.exitcode == 2 and "Traceback" not in printed, printed
    step = load_checkpoint(output / "last.pth")["step"]
    assert step == last_step(output) >= 3
    assert f"last.pth holds step {step}: --resume goes on from there" in printed
    line = printed.splitlines()[-1]
    assert line.startswith("fcos: error: a process that loads images was killed, as where memory")
    assert "/dev/shm" in line and "--workers" in line


def test_two_trainings_in_one_folder(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    process = start(train_drawn(data, output, "--steps", "100000"), tmp_path / "log")
    while process.is_alive() and not (output / "last.pth").exists():
        time.sleep(0.01)
    assert main(train_drawn(data, output, "--resume", "--steps", "100001")) == 2
    error = f"fcos: error: another training writes into {output}"
    assert error in capsys.readouterr().err
    process.kill()
    process.join()
    step = load_checkpoint(output / "last.pth")["step"]
    assert main(train_drawn(data, output, "--resume", "--steps", f"{step + 1}")) == 0
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


def test_a_second_signal_at_the_end_is_not_heard(data: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    more = ["--workers", "2", "--steps", "100000", "--checkpoint-every", "99999"]
    process = start(train_drawn(data, tmp_path / "run", *more), log)
    wait_for_step(tmp_path / "run", 3, [process])
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
