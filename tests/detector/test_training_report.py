"""metrics.csv and curves.png, made of metrics.jsonl: what they hold, and what they may cost."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from fcos.cli import main
from fcos.training import report as training_report
from fcos.training.report import COLUMNS, TrainingReport, write_report
from PIL import Image

from .helpers import SMALL, annotation, image_entry, write_dataset


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames is not None and tuple(reader.fieldnames) == COLUMNS
        return list(reader)


def _record(step: int, **more: Any) -> dict[str, Any]:
    losses = {"loss_classification": 1.0, "loss_bbox_regression": 0.5, "loss_bbox_ctrness": 0.5}
    return {"step": step, "epoch": step / 2, "lr": 0.01, "loss": 2.0, **losses, **more}


def _write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_training_with_evaluations(data: Path, tmp_path: Path) -> None:
    write_dataset(data, "val", [image_entry(1, 64, 64)], [annotation(1, 3, [8, 8, 20, 20])])
    run = tmp_path / "run"
    arguments = ["train", "--data", str(data), "--output", str(run), *SMALL, "--log-every", "1"]
    assert main([*arguments, "--steps", "4", "--eval-every", "1"]) == 0
    rows = _rows(run)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert [bool(row["AP50"]) for row in rows] == [False, True, False, True]
    assert [float(row["loss"]) for row in rows] == [x["loss"] for x in lines if "loss" in x]
    assert list(next(line for line in lines if "AP" in line)["classes"]) == ["ball"]
    with Image.open(run / "curves.png") as picture:
        assert picture.size == (800, 900)
    before = (run / "metrics.csv").read_bytes()
    (run / "metrics.csv").unlink()
    assert main([*arguments, "--resume"]) == 0  # killed before it was written
    assert (run / "metrics.csv").read_bytes() == before


def test_what_was_not_measured_is_empty(tmp_path: Path) -> None:
    lines = [_record(1), {"step": 1, "epoch": 0.5, "AP": 0.25, "APs": -1.0}, {"other": 1}]
    write_report(_write(tmp_path / "metrics.jsonl", lines))
    (row,) = _rows(tmp_path)
    assert (row["AP"], row["APs"], row["ARl"], row["loss"]) == ("0.25", "", "", "2.0")
    assert not (tmp_path / "curves.png").exists()  # one record is no curve


def test_a_picture_without_evaluations(tmp_path: Path) -> None:
    write_report(_write(tmp_path / "metrics.jsonl", [_record(1), _record(2)]))
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (800, 600)


def test_curves_of_long_runs_are_means() -> None:
    lines = [_record(step, loss=step % 2) for step in range(1, 2401)]
    (losses, _) = training_report._draw([*lines, {"step": 1}]).axes
    curve = losses.lines[0]
    assert curve.get_xdata()[0] == sum(range(1, 9)) / 8 / 2 and len(curve.get_xdata()) == 300
    assert set(curve.get_ydata()) == {0.5}


def test_it_takes_a_hundredth_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a clock that writing moves on by two seconds."""
    now, written = [0.0], []

    def write(_: Path) -> None:
        written.append(now[0])
        now[0] += 2

    monkeypatch.setattr(training_report, "write_report", write)
    report = TrainingReport(tmp_path / "metrics.jsonl", clock=lambda: now[0])
    for _ in range(500):
        report.update()
        now[0] += 1
    assert written == [60, 260, 460]
    report.update(at_once=True)
    assert len(written) == 4


def test_an_error_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _write(tmp_path / "metrics.jsonl", [_record(1), _record(2, lr="fast")])
    (tmp_path / "metrics.csv").mkdir()
    report = TrainingReport(path)
    for _ in range(3):
        report.update(at_once=True)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "fcos: metrics.csv and curves.png could not be written, training goes on"
    )
    assert "metrics.csv must be an ordinary file, got a folder" in line


def test_a_picture_that_fails_ends_no_training(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Any) -> None:
        raise ModuleNotFoundError("No module named 'matplotlib'")

    monkeypatch.setattr(training_report, "_draw", fail)
    arguments = ["train", "--data", str(data), "--output", str(tmp_path / "run"), *SMALL]
    assert main([*arguments, "--steps", "2", "--log-every", "1"]) == 0
    assert "No module named 'matplotlib'" in capsys.readouterr().err
    assert len(_rows(tmp_path / "run")) == 2
