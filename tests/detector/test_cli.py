"""The commands end to end on four images, and what they say when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fcos.cli import main

from .helpers import image_entry, write_dataset

SMALL = (
    "--backbone resnet18 --backbone-width 8 --width 16 --depth 1 --norm gn --size 64 --max-size 96 "
    "--batch 2 --device cpu"
).split()


def _train(data: Path, output: Path, *more: str) -> int:
    return main(["train", "--data", str(data), "--output", str(output), *SMALL, *more])


def test_train_resume_evaluate_detect(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, weights = tmp_path / "run", str(tmp_path / "run" / "last.pth")
    assert _train(data, run, "--steps", "2", "--ema", "0.9") == 0
    assert _train(data, run, "--steps", "2") == 1
    assert "--resume" in capsys.readouterr().err
    assert _train(data, run, "--steps", "4", "--ema", "0.9", "--resume") == 0
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]

    results = str(tmp_path / "results.json")
    arguments = ["--data", str(data), "--split", "train", "--weights", weights, "--device", "cpu"]
    drawn = tmp_path / "drawn"
    more = ["--limit", "2", "--output", results, "--draw", str(drawn)]
    assert main(["eval", *arguments, *more]) == 0
    assert sorted(path.name for path in drawn.iterdir()) == ["11.png", "12.png"]
    out = capsys.readouterr().out
    assert "2 images" in out and "AP50 " in out and "ARl " in out
    assert isinstance(json.loads(Path(results).read_text()), list)

    image = str(data / "train" / "12.png")
    assert main(["detect", image, "--weights", weights, "--output", str(tmp_path / "d")]) == 0
    assert (tmp_path / "d" / "12.png").is_file() and (tmp_path / "d" / "detections.json").is_file()


def test_evaluation_during_training(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(data, "val", [image_entry(1, 64, 64)], [])
    assert _train(data, tmp_path / "run", "--epochs", "2", "--eval-every", "1") == 0
    assert "epoch 2: AP " in capsys.readouterr().out
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert "AP50" in json.loads(lines[-1])


def test_scenes(tmp_path: Path) -> None:
    options = ["--output", str(tmp_path), "--train", "2", "--val", "1", "--size", "64"]
    assert main(["scenes", *options]) == 0
    assert (tmp_path / "annotations" / "instances_val.json").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--data", "nowhere"], "instances_train2017.json"),
        (["--device", "tpu9"], "--device: expected cpu"),
        (["--backbone-weights", "none.pth"], "file of backbone weights not found: none.pth"),
        (["--lr", "-1"], "lr: expected a positive number"),
        (["--resume"], "checkpoint not found"),
    ],
)
def test_train_errors_are_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    assert _train(data, tmp_path / "run", "--steps", "1", *change) == 1
    err = capsys.readouterr().err
    assert message in err and err.startswith("fcos: error:") and "Traceback" not in err


def test_eval_errors_are_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(data, tmp_path / "run", "--steps", "1") == 0
    other = tmp_path / "other"
    write_dataset(other, "val", [image_entry(1, 32, 32)], [])
    path = other / "annotations" / "instances_val.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "categories": content["categories"][:2]}))
    weights = str(tmp_path / "run" / "last.pth")
    capsys.readouterr()
    assert main(["eval", "--data", str(other), "--weights", weights]) == 1
    assert "knows 3 categories, ball, cup, hat; the data has 2" in capsys.readouterr().err
    assert main(["eval", "--data", str(data), "--weights", str(path)]) == 1
    assert "not a checkpoint" in capsys.readouterr().err
    picture = str(tmp_path / "none.jpg")
    assert main(["detect", picture, "--weights", weights, "--output", str(tmp_path)]) == 1
    assert "image not found" in capsys.readouterr().err


def test_wrong_usage_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["train"], ["train", "--steps", "0"], ["train", "--steps", "x"], ["a"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
    messages = capsys.readouterr().err
    for text in ("0", "x"):
        assert f"expected a positive whole number, got '{text}'" in messages
