"""The processes that torchrun started as one run, or who else set its variables. Needs no torch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import UserError, brief

_MOST_CORES = 8


class Launch(NamedTuple):
    """Which of the processes of a run this one is.

    Attributes:
        rank: its number, from 0 on. The process 0 writes and prints.
        world: how many there are.
        local_rank, local_world: its number among those of its machine, and how many these are.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def cores(self) -> int:
        """How many cores this process may use and shares with no other of its run, at most 8: more
        threads or processes than that seldom load images faster."""
        return max(1, min(_MOST_CORES, len(os.sched_getaffinity(0)) // self.local_world))

    @property
    def prefix(self) -> str:
        """What begins the errors of this process: nothing in a run of one."""
        return f"process {self.rank}: " if self.world > 1 else ""


def read_launch() -> Launch:
    """What WORLD_SIZE, RANK, LOCAL_RANK and LOCAL_WORLD_SIZE say, as torchrun sets them; without
    them one process.

    Raises:
        UserError: they do not go together, or MASTER_ADDR or MASTER_PORT is missing.
    """
    world = _number("WORLD_SIZE", 1, 1, 1 << 20)
    if world == 1:
        return Launch()
    rank = _number("RANK", None, 0, world - 1)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(name, "").strip():
            raise UserError(f"{name} must be set with WORLD_SIZE, as torchrun does, got none")
    local_rank = _number("LOCAL_RANK", rank, 0, world - 1)
    return Launch(rank, world, local_rank, _number("LOCAL_WORLD_SIZE", world, 1, world))


@contextlib.contextmanager
def quiet_but_the_first(launch: Launch) -> Iterator[None]:
    """A block in which all processes but the first print nothing; errors leave the block."""
    if launch.rank == 0:
        yield
        return
    with (
        open(os.devnull, "w") as nothing,
        contextlib.redirect_stdout(nothing),
        contextlib.redirect_stderr(nothing),
    ):
        yield


def _number(name: str, default: int | None, least: int, most: int) -> int:
    text = os.environ.get(name, "").strip()
    if not text and default is not None:
        return default
    if not text:
        raise UserError(f"{name} must be set with WORLD_SIZE, as torchrun does, got none")
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise UserError(f"{name} must be a whole number from {least} to {most}, got {brief(text)}")
    return int(text)
