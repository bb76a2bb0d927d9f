"""Signals that are noted instead of obeyed."""

from __future__ import annotations

import os
import signal
import time

import pytest
from fcos.interrupts import Interrupted, StopSignals


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
