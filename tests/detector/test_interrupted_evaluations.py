"""A training that is stopped while it evaluates."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from fcos.cli import main
from fcos.commands import train

from .helpers import annotation, image_entry, write_dataset
from .runs import assert_equal, curve, train_drawn


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
    arguments = train_drawn(data, output, *more)
    monkeypatch.setattr(train, "_evaluate", signalled)
    assert main(arguments) == 128 + signal.SIGTERM
    assert "last.pth holds step 1" in capsys.readouterr().out
    monkeypatch.setattr(train, "_evaluate", evaluate)
    assert main([*arguments, "--resume"]) == 0
    assert [line["step"] for line in curve(output) if "AP" in line] == [1, 2, 3, 4]


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
    assert main(train_drawn(data, tmp_path / "whole", *more)) == 0
    arguments = train_drawn(data, tmp_path / "run", *more)
    _interrupt_evaluation(monkeypatch, stopped)
    assert main(arguments) == 130
    assert main([*arguments, "--resume"]) == 0
    assert_equal(tmp_path / "run", tmp_path / "whole")
    assert main([*arguments, "--resume"]) == 0  # nothing is left to do
    assert_equal(tmp_path / "run", tmp_path / "whole")
