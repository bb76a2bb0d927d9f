"""--annotations FILE --images DIR and its companions: the same data by another name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fcos.cli import main

from .helpers import SMALL, annotation, image_entry, write_dataset


def _named(data: Path, folder: Path) -> list[str]:
    """The part train of `data`, moved to where no layout has it."""
    shutil.move(data / "annotations" / "instances_train.json", folder / "my labels.json")
    shutil.move(data / "train", folder / "photos")
    return ["--annotations", str(folder / "my labels.json"), "--images", str(folder / "photos")]


def _train(output: Path, *more: str) -> int:
    return main(["train", "--output", str(output), *SMALL, "--steps", "1", *more])


def test_train_and_evaluate_by_name(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = _named(data, tmp_path)
    run = tmp_path / "run"
    assert _train(run, *source) == 0
    expected = "my labels.json: 4 images, 1 without boxes, 5 boxes; left out: 1 crowd, "
    assert capsys.readouterr().out.startswith(expected)
    assert main(["eval", *source, "--weights", str(run / "last.pth"), "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(expected) and "AP50 " in out
    assert main(["train", "--output", str(run), *source, "--resume", "--steps", "2"]) == 0
    assert "already at step 1 of 2" in capsys.readouterr().out


@pytest.mark.parametrize("by_name", [False, True])
def test_validation_by_name(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], by_name: bool
) -> None:
    write_dataset(tmp_path / "b", "x", [image_entry(1, 64, 64)], [annotation(1, 3, [8, 8, 20, 20])])
    held_out = ["--val-annotations", str(tmp_path / "b" / "annotations" / "instances_x.json")]
    held_out += ["--val-images", str(tmp_path / "b" / "x"), "--eval-every", "1"]
    source = _named(data, tmp_path) if by_name else ["--data", str(data)]
    assert _train(tmp_path / "run", *source, *held_out) == 0
    out = capsys.readouterr().out
    assert "instances_x.json: 1 images, 0 without boxes, 1 boxes" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--annotations a.json", "--annotations must come with --images DIR, got none"),
        ("--annotations a.json --images nowhere", "--images must be a folder, got nowhere"),
        ("--annotations a.json --images .", "annotation file not found: a.json"),
        ("--annotations a.json --images . --split val", "--split must come with --data"),
        ("--data . --images .", "--images must come with --annotations, got --data"),
        ("--data DATA --val-images .", "--val-images must come with --val-annotations"),
        ("--data DATA --val-annotations a", "--val-annotations must come with --eval-every EPOCHS"),
        (
            "--data DATA --eval-every 1 --val-fraction 0.5 --val-annotations a",
            "--val-annotations must not come with --val-fraction, got both",
        ),
        ("--data DATA --eval-every 1 --val-images .", "--val-images must come with --val-annota"),
        (
            "--data DATA --eval-every 1 --val-annotations a",
            "--val-annotations must come with --val-images DIR, got none",
        ),
        (
            "--annotations DATA/annotations/instances_train.json --images . --eval-every 1",
            "--eval-every must come with --val-annotations FILE or --val-fraction where --data",
        ),
    ],
)
def test_options_that_do_not_go_together(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str, message: str
) -> None:
    assert _train(tmp_path / "run", *options.replace("DATA", str(data)).split()) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"fcos: error: {message}") and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("options", [[], ["--data", "a", "--annotations", "b"]])
def test_one_source_of_data(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        _train(Path("out"), *options)
    assert stop.value.code == 2
    assert "--data" in capsys.readouterr().err.splitlines()[-1]
