"""Commands in processes of their own, to be killed, or given a full disk."""

from __future__ import annotations

import multiprocessing
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from fcos.cli import main
from fcos.data.loading import _leave_signals_to_the_main_process

# The server imports torch once, and what the first step of an optimizer would; a process is then
# there in milliseconds.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__, "fcos.commands.train", "torch._dynamo"])


def command(
    arguments: list[str], log: Path, largest_file: int | None, environment: dict[str, str]
) -> None:
    os.environ.update(environment)
    os.setsid()  # a process group, as a terminal has one
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if largest_file is not None:  # as a full disk: what is longer cannot be written
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    torch.set_num_threads(1)
    sys.argv = ["fcos", *arguments]
    sys.exit(main())


def start(arguments: list[str], log: Path, largest_file: int | None = None) -> BaseProcess:
    """`fcos` with these arguments; what it prints goes to `log`."""
    return start_function(command, arguments, log, largest_file, {})


def free_port() -> int:
    """A port of this machine on which processes can meet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start_together(
    arguments: list[str],
    folder: Path,
    world: int,
    last: Sequence[str] = (),
    function: Callable[..., None] = command,
) -> list[BaseProcess]:
    """`fcos` with these arguments, and those of `last` in the last process, in `world` processes
    that are one run, as torchrun starts them; what process r prints goes to `folder`/log<r>.

    function: takes what `command` does, and calls it.
    """
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    processes = []
    for rank in range(world):
        environment = {**meeting, "WORLD_SIZE": str(world), "RANK": str(rank)}
        log = folder / f"log{rank}"
        own = [*arguments, *(last if rank == world - 1 else ())]
        processes.append(start_function(function, own, log, None, environment))
    return processes


def join_all(processes: list[BaseProcess]) -> list[int | None]:
    """Their exit statuses; None for one that still runs half a minute later, which is then ended:
    it waits for another that is gone."""
    deadline = time.monotonic() + 30
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    statuses = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return statuses


def run_together(arguments: list[str], folder: Path, world: int) -> list[str]:
    """What each process printed, where all of them end well."""
    processes = start_together(arguments, folder, world)
    for process in processes:
        process.join()
    printed = [(folder / f"log{rank}").read_text() for rank in range(world)]
    assert [process.exitcode for process in processes] == [0] * world, printed
    return printed


def run(arguments: list[str], log: Path, largest_file: int | None = None) -> tuple[int, str]:
    """Its exit status and what it printed."""
    process = start(arguments, log, largest_file)
    process.join()
    assert process.exitcode is not None
    return process.exitcode, log.read_text()


def start_function(function: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A process that calls it."""
    process = _context.Process(target=function, args=arguments)
    process.start()
    return process


def start_worker(ready: Path) -> BaseProcess:
    """A process that waits like one that loads images, once the file `ready` is there."""
    return start_function(_worker, ready)


def _worker(ready: Path) -> None:
    _leave_signals_to_the_main_process(0)
    ready.touch()
    time.sleep(600)
