"""SIGINT and SIGTERM, taken between two steps of a work rather than in the middle of one."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal stopped the work."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class StopSignals:
    """While open, notes a signal instead of dying of it; a second one interrupts at once.

    It may be opened again within; the outer one goes on noting after the inner one is closed.
    In another thread than the main one, where no handler can be set, it notes nothing.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._at_once = False
        self._before: list[dict[int, Any]] = []

    def __enter__(self) -> StopSignals:
        before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in _NUMBERS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as in a job in the background
                    before[number] = signal.signal(number, self._note)
        self._before.append(before)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.pop().items():
            signal.signal(number, handler)

    def __bool__(self) -> bool:
        """Whether to stop."""
        return self._received is not None

    def check(self) -> None:
        """Raises Interrupted where a signal has come."""
        if self._received is not None:
            raise Interrupted(self._received)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """A block in which a signal interrupts like Ctrl-C does: nothing in it needs saving."""
        self._at_once = True
        try:
            self.check()
            yield
        finally:
            self._at_once = False

    def _note(self, number: int, _frame: FrameType | None) -> None:
        at_once = self._at_once or self._received is not None
        self._received = number
        if at_once:
            raise Interrupted(number)


@contextlib.contextmanager
def fatal_ctrl_c() -> Iterator[None]:
    """A block of foreign code that may wait for minutes without looking at a signal: Ctrl-C, where
    nobody else handles it, ends the process there, without a word of it."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def ignore_signals() -> None:
    """For a process that ends: another signal would only break into what torch does at the end."""
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)
