"""What the processes of a run that ends with an error tell each other, so that all can say why."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from torch import distributed as dist

from ..errors import shorten
from .launch import Launch

_SECONDS = 3.0


class LastWords:
    """Words in the store by which the processes met, each under the rank of its process.

    Where torchrun started them the store is in a process of its own, else in the first one: then
    nothing is known once that is gone.
    """

    def __init__(self, store: dist.Store, launch: Launch) -> None:
        self._store, self._rank, self._world = store, launch.rank, launch.world

    def say(self, text: str) -> None:
        """Leave the error of this process; "" where it ends because another one did."""
        lines = text.splitlines() or [""]
        self._set("ended", shorten(lines[0]))

    def who_ended(self) -> str:
        """Which process ended first, and why: one that has said so, else one that says nothing."""
        deadline = time.monotonic() + _SECONDS
        try:
            while (silent := self._missing("ended")) and time.monotonic() < deadline:
                time.sleep(0.05)
            said = {rank: self._get(rank) for rank in range(self._world) if rank not in silent}
        except RuntimeError:
            return "process 0 ended, or the connection to it was lost"
        self.wait_for_readers(silent)
        for rank, text in said.items():
            if text:
                return f"process {rank} ended: {text}"
        if not silent:
            return "the connection between the processes was lost"
        if len(silent) == 1:
            return f"process {silent[0]} ended without a word, as one that is killed"
        return f"processes {silent} ended without a word, as those that are killed"

    def wait_for_readers(self, gone: Sequence[int] = ()) -> None:
        """Let the others read before the process ends that holds the store: all but those `gone`,
        some seconds long."""
        self._set("read", "")
        deadline = time.monotonic() + 2 * _SECONDS
        with contextlib.suppress(RuntimeError):
            while self._rank == 0 and set(self._missing("read")) - set(gone):
                if time.monotonic() > deadline:
                    return
                time.sleep(0.05)

    def _missing(self, what: str) -> list[int]:
        return [r for r in range(self._world) if not self._store.check([f"fcos/{what}/{r}"])]

    def _get(self, rank: int) -> str:
        return self._store.get(f"fcos/ended/{rank}").decode()

    def _set(self, what: str, text: str) -> None:
        with contextlib.suppress(RuntimeError):  # the process that holds it is gone
            self._store.set(f"fcos/{what}/{self._rank}", text)
