"""Several processes end together, whatever ends one of them, and say why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from fcos.cli import main
from fcos.data import CocoDataset, find_split, training_loader
from fcos.distributed.launch import Launch
from fcos.distributed.processes import joined
from fcos.errors import TrainingError
from fcos.models import FCOS
from fcos.training import load_checkpoint

from .processes import command, free_port, join_all, start_function, start_together
from .runs import assert_same_curve, train, wait_for_step

# a rate at which rounding does not grow from step to step
LONG = ["--steps", "60", "--checkpoint-every", "1", "--lr", "0.0003"]


def test_resumed_by_other_numbers_of_processes(six_images: Path) -> None:
    """After a signal to one of two, and a kill of one of three; by one, in parts."""
    assert main(train(six_images, "whole", *LONG)) == 0
    resume, output = [], six_images / "run"
    for step, world, number, last in ((4, 2, signal.SIGTERM, 1), (9, 3, signal.SIGKILL, 2)):
        processes = start_together(train(six_images, "run", *LONG, *resume), six_images, world)
        wait_for_step(output, step, processes)
        os.kill(processes[last].pid or 0, number)
        statuses = join_all(processes)
        logs = [(six_images / f"log{rank}").read_text() for rank in range(world)]
        reached = load_checkpoint(output / "last.pth")["step"]
        assert step - 1 <= reached < 60, logs  # the record of a step is written before it is saved
        if number == signal.SIGTERM:
            assert statuses == [128 + number] * world, logs
            assert logs[1] == "fcos: process 1: interrupted by SIGTERM\n"
        else:
            assert statuses == [2, 2, -number], logs
            word = "process 2 ended without a word, as one that is killed"
            assert logs[0].endswith(f"fcos: process 0: error: {word}\n")
            assert logs[1].endswith(f"fcos: process 1: error: {word}\n")
        assert f"last.pth holds step {reached}: --resume goes on from there" in logs[0]
        resume = ["--resume"]
    assert main(train(six_images, "run", *LONG, "--resume", "--accumulate", "2")) == 0
    assert_same_curve(output, six_images / "whole")


def test_the_first_process_is_killed(six_images: Path) -> None:
    """It also holds the store by which the others know each other, of which torch would say much.

    The other is started as by a user, as what torch prints is decided when it is imported."""
    arguments = train(six_images, "run", *LONG)
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    log, environment = six_images / "log0", {**meeting, "RANK": "0"}
    first = start_function(command, arguments, log, None, environment)
    environment = {**os.environ, **meeting, "RANK": "1", "OMP_NUM_THREADS": "1"}
    begin = [sys.executable, "-m", "fcos"]
    with subprocess.Popen(
        [*begin, *arguments], env=environment, stderr=subprocess.PIPE, text=True
    ) as second:
        wait_for_step(six_images / "run", 5, [first])
        first.kill()
        try:
            _, printed = second.communicate(timeout=30)
        finally:
            second.kill()
    assert second.returncode == 2
    line = "fcos: process 1: error: process 0 ended, or the connection to it was lost\n"
    assert printed == line
    assert load_checkpoint(six_images / "run" / "last.pth")["step"] >= 4


def test_ctrl_c_while_the_others_are_awaited(six_images: Path) -> None:
    """torch waits ten minutes, and looks at no signal meanwhile."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    log, environment = six_images / "log0", {**meeting, "RANK": "0"}
    first = start_function(command, train(six_images, "run"), log, None, environment)
    line = f"waiting for 2 processes to meet at 127.0.0.1:{meeting['MASTER_PORT']}\n"
    while first.is_alive() and line not in (log.read_text() if log.exists() else ""):
        time.sleep(0.01)
    time.sleep(0.5)  # until torch waits
    os.kill(first.pid or 0, signal.SIGINT)
    assert join_all([first]) == [-signal.SIGINT]


def test_an_error_of_the_data_in_one_process(six_images: Path) -> None:
    dataset = CocoDataset(*find_split(six_images, "train"))
    batches = iter(training_loader(dataset, batch=3, seed=0, rank=2, world=3))
    number = [next(batches).image_ids[0] for _ in range(2)][1]
    (six_images / "train" / f"{number}.png").write_bytes(b"broken")
    arguments = train(six_images, "run", "--batch", "3")
    assert join_all(start_together(arguments, six_images, 3)) == [2, 2, 2]
    logs = [(six_images / f"log{rank}").read_text() for rank in range(3)]
    assert logs[2].startswith("fcos: process 2: error: cannot read the image ")
    assert logs[1] == "fcos: process 1: error: process 2 ended with an error\n"
    assert "last.pth holds step 1: --resume goes on from there" in logs[0]


def _run_out_of_memory(*arguments: Any) -> None:
    """`command`, whose last process needs too much in the third step, others being in it."""
    losses, calls = FCOS.losses, []

    def greedy(*inputs: Any) -> Any:
        calls.append(1)
        if len(calls) == 3 and os.environ["RANK"] == "1":
            torch.empty(1 << 60, dtype=torch.uint8)
        return losses(*inputs)

    FCOS.losses = greedy  # type: ignore[method-assign]
    command(*arguments)


def test_out_of_memory_in_one_process(six_images: Path) -> None:
    """The other waits for it within a step, and then saves the step before."""
    arguments = train(six_images, "run", "--norm", "bn", "--checkpoint-every", "99")
    processes = start_together(arguments, six_images, 2, function=_run_out_of_memory)
    assert join_all(processes) == [2, 2]
    logs = [(six_images / f"log{rank}").read_text() for rank in range(2)]
    assert logs[1].startswith("fcos: process 1: error: out of memory")
    assert (
        "error: process 1 ended: RuntimeError: " in logs[0] and "last.pth holds step 2" in logs[0]
    )
    assert load_checkpoint(six_images / "run" / "last.pth")["step"] == 2


def test_an_error_of_the_first_process_alone(six_images: Path) -> None:
    """It alone writes: the others learn that the folder cannot be had, and end."""
    (six_images / "run").write_text("a file")
    statuses = join_all(start_together(train(six_images, "run"), six_images, 2))
    assert statuses == [2, 2]
    first, second = ((six_images / f"log{rank}").read_text() for rank in range(2))
    assert "File exists" in first.splitlines()[-1]
    assert second.startswith("fcos: process 1: error: process 0 ended: ")
    assert "File exists" in second and second.count("\n") == 1


def _fail_as_torch(_group: object) -> None:
    """Like torch's functions, this one holds a group in its frame."""
    raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer")


def _lose_the_other(rank: int, port: int, log: Path) -> None:
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
    with pytest.raises(TrainingError) as raised, joined(Launch(rank, 2), torch.device("cpu")) as p:
        if rank == 0:
            _fail_as_torch(p._control)
        p.check()
    log.write_text(str(raised.value))


def test_who_waits_for_one_that_leaves_can_say_so(tmp_path: Path) -> None:
    """Else it would itself be taken for the one that was killed."""
    logs = [tmp_path / "0", tmp_path / "1"]
    port = free_port()
    processes = [start_function(_lose_the_other, rank, port, logs[rank]) for rank in range(2)]
    assert join_all(processes) == [0, 0]
    for log in logs:
        assert log.read_text() == "the connection between the processes was lost"
