"""The commands end to end on four images, and what they say when something is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from fcos.cli import main
from fcos.errors import brief
from fcos.evaluation.evaluators import EVALUATORS
from fcos.models import VARIANTS
from fcos.names import EVALUATOR_NAMES, LAYOUT_NAMES, PRESETS
from fcos.weights.layouts import LAYOUTS

from .helpers import SMALL, annotation, image_entry, write_dataset


def _train(data: Path, output: Path, *more: str) -> int:
    return main(["train", "--data", str(data), "--output", str(output), *SMALL, *more])


def test_train_resume_evaluate_detect(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, weights = tmp_path / "run", str(tmp_path / "run" / "last.pth")
    assert _train(data, run, "--steps", "2", "--ema", "0.9") == 0
    assert _train(data, run, "--steps", "2") == 2
    assert "--resume" in capsys.readouterr().err
    assert _train(data, run, "--steps", "4", "--ema", "0.9", "--resume") == 0
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]

    results = str(tmp_path / "results.json")
    arguments = ["--data", str(data), "--split", "train", "--weights", weights, "--device", "cpu"]
    drawn = tmp_path / "drawn"
    more = ["--limit", "2", "--output", results, "--draw", str(drawn)]
    assert main(["eval", *arguments, *more]) == 0
    assert sorted(path.name for path in drawn.iterdir()) == ["11.png", "12.png", "index.png"]
    out = capsys.readouterr().out
    assert "2 images" in out and "AP50 " in out and "ARl " in out
    assert isinstance(json.loads(Path(results).read_text()), list)

    image = str(data / "train" / "12.png")
    assert main(["detect", image, "--weights", weights, "--output", str(tmp_path / "d")]) == 0
    assert (tmp_path / "d" / "12.png").is_file() and (tmp_path / "d" / "detections.json").is_file()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"fcos_ops {metadata.version('fcos_ops')}\n"


def test_a_reader_that_has_seen_enough(data: Path) -> None:
    """As `fcos data DIR | head`: no error is printed into the terminal, by Python neither."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "fcos", "data", str(data)]
    # unbuffered, stdout would hold nothing that Python could complain of
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with os.fdopen(writing, "w") as pipe:
        done = subprocess.run(
            command, env=buffered, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_stdout_may_be_closed(data: Path) -> None:
    """As `fcos data DIR >&-`."""
    command = [sys.executable, "-m", "fcos", "data", str(data)]
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    done = subprocess.run(closed, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_evaluation_during_training(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(data, "val", [image_entry(1, 64, 64)], [annotation(1, 3, [8, 8, 20, 20])])
    assert _train(data, tmp_path / "run", "--epochs", "2", "--eval-every", "1") == 0
    out = capsys.readouterr().out
    assert "val: 1 images, 0 without boxes, 1 boxes; left out: none" in out
    assert "epoch 2: AP " in out
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines if "AP50" in line] == [2, 4]


def test_validation_data_of_other_categories_is_refused_first(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(data, "val", [image_entry(1, 64, 64)], [])
    path = data / "annotations" / "instances_val.json"
    path.write_text(path.read_text().replace('"id": 40', '"id": 41'))
    assert _train(data, tmp_path / "run", "--steps", "2", "--eval-every", "1") == 2
    assert "knows 3 categories" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_scenes(tmp_path: Path) -> None:
    options = ["--output", str(tmp_path), "--train", "2", "--val", "1", "--size", "64"]
    for _ in range(2):  # the second time over the first
        assert main(["scenes", *options]) == 0
    assert (tmp_path / "annotations" / "instances_val.json").is_file()


def test_scenes_never_replace_another_data_set(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (data / "annotations" / "instances_train.json").read_bytes()
    assert main(["scenes", "--output", str(data), "--train", "1", "--val", "1"]) == 2
    assert "instances_train.json is of another data set" in capsys.readouterr().err
    assert (data / "annotations" / "instances_train.json").read_bytes() == before
    assert not (data / "train" / "000001.jpg").exists()


def test_pictures_of_an_evaluation_never_replace_images(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(data, tmp_path / "run", "--steps", "1") == 0
    before = (data / "train" / "11.png").read_bytes()
    weights = ["--weights", str(tmp_path / "run" / "last.pth")]
    arguments = ["eval", "--data", str(data), "--split", "train", *weights]
    assert main([*arguments, "--draw", str(data / "train")]) == 2
    assert "must be another folder than that of the image" in capsys.readouterr().err
    assert (data / "train" / "11.png").read_bytes() == before


def test_an_evaluation_replaces_its_own_files_only(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused before anything is evaluated, and again with what may be replaced."""
    assert _train(data, tmp_path / "run", "--steps", "1") == 0
    weights = tmp_path / "run" / "last.pth"
    common = ["--data", str(data), "--split", "train", "--weights", str(weights)]
    annotations = data / "annotations" / "instances_train.json"
    (tmp_path / "pictures").mkdir()
    picture = tmp_path / "pictures" / "11.png"
    picture.write_text("mine")
    for option, path, place in [
        ("--output", weights, weights),
        ("--output", annotations, annotations),
        ("--output", tmp_path / "run", None),
        ("--draw", picture.parent, picture),
    ]:
        before = place.read_bytes() if place else None
        capsys.readouterr()
        assert main(["eval", *common, option, str(path)]) == 2
        captured = capsys.readouterr()
        assert str(place or path) in captured.err and "AP50" not in captured.out
        assert place is None or place.read_bytes() == before
    outputs = ["--output", str(tmp_path / "found.json"), "--draw", str(tmp_path / "drawn")]
    assert main(["eval", *common, *outputs]) == 0
    assert main(["eval", *common, *outputs]) == 2
    assert main(["eval", *common, *outputs, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--data", "nowhere"], "--data must be a folder, got nowhere, which is not there"),
        (["--device", "tpu9"], "--device must be cpu, cuda or cuda:N, got 'tpu9'"),
        (["--device", "meta"], "--device must be cpu, cuda or cuda:N, got 'meta'"),
        (["--backbone-weights", "none.pth"], "file of backbone weights not found: none.pth"),
        (["--backbone-weights", __file__], "not a file of backbone weights"),
        (["--ema", "1"], "ema must be at least 0 and less than 1, got 1.0"),
        (["--norm", "bn", "--batch", "1", "--size", "32", "--max-size", "32"], "take --norm gn"),
        (["--resume"], "checkpoint not found"),
        (["--scales", "64-97"], "--scales must be at most --max-size, 96, got 64-97"),
        (["--max-size", "63"], "--max-size must be at least the short side, --size 64, got 63"),
    ],
)
def test_train_errors_are_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    assert _train(data, tmp_path / "run", "--steps", "1", *change) == 2
    (line,) = [s for s in capsys.readouterr().err.splitlines() if "step/s" not in s and s]
    assert message in line and line.startswith("fcos: error:")


def test_eval_errors_are_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(data, tmp_path / "run", "--steps", "1") == 0
    other = tmp_path / "other"
    write_dataset(other, "val", [image_entry(1, 32, 32)], [])
    path = other / "annotations" / "instances_val.json"
    content = json.loads(path.read_text())
    categories = [*content["categories"], {"id": 50, "name": "dog"}]
    path.write_text(json.dumps({**content, "categories": categories}))
    weights = str(tmp_path / "run" / "last.pth")
    capsys.readouterr()
    assert main(["eval", "--data", str(other), "--weights", weights]) == 2
    expected = (
        "knows 3 categories, 'ball', 'cup', 'hat'; "
        "the data has 4, 'ball', 'cup', 'hat' and 1 more: none against"
    )
    assert expected in capsys.readouterr().err
    train = ["--data", str(data), "--split", "train"]
    assert main(["eval", *train, "--weights", str(path)]) == 2
    assert "not a file of weights" in capsys.readouterr().err
    for command in (
        ["eval", *train],
        ["detect", str(data), "--output", "out"],
    ):
        assert main([*command, "--weights", weights, "--max-size", "60"]) == 2
        assert "--max-size must be at least the short side" in capsys.readouterr().err
    picture = str(tmp_path / "none.jpg")
    assert main(["detect", picture, "--weights", weights, "--output", str(tmp_path)]) == 2
    assert "image not found" in capsys.readouterr().err


def test_wrong_usage_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["train"], ["a"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2


@pytest.mark.parametrize(
    ("command", "option", "value", "expected"),
    [
        ("train", "--steps", "0", "a whole number from 1 to 1e+09"),
        ("train", "--steps", "x", "a whole number from 1 to 1e+09"),
        ("train", "--steps", "1" + 400 * "0", "a whole number from 1 to 1e+09"),
        ("train", "--warmup", "1" + 400 * "0", "a whole number from 0 to 1e+09"),
        ("train", "--log-every", "1" + 5000 * "0", "a whole number from 1 to 1e+09"),
        ("train", "--batch", "2.5", "a whole number from 1 to 1e+09"),
        ("train", "--width", "1000000", "a whole number from 1 to 65536"),
        ("train", "--workers", "-1", "a whole number from 0 to 1000"),
        ("train", "--seed", "-1", "a whole number from 0 to 4.29497e+09"),
        ("train", "--lr", "nan", "a number above 0 and below 1e+06"),
        ("train", "--lr", "inf", "a number above 0"),
        ("train", "--lr", "0", "a number above 0"),
        ("train", "--epochs", "-1", "a number above 0"),
        ("train", "--epochs", "1e300", "a number above 0 and below 1e+06"),
        ("train", "--flip", "2", "a number from 0 to 1"),
        ("train", "--flip", "nan", "a number from 0 to 1"),
        ("train", "--ema", "2", "a number from 0 to 1"),
        ("train", "--clip", "-1", "a number from 0 to 1e+06"),
        ("train", "--weight-decay", "1e308", "a number from 0 to 1e+06"),
        ("train", "--weight-decay", "inf", "a number from 0 to 1e+06"),
        ("train", "--eval-every", "nan", "0 or a number from 0.001 to 1e+06"),
        ("train", "--eval-every", "1e-320", "0 or a number from 0.001 to 1e+06"),
        ("detect", "--size", "1000000000000000000000000000000", "a whole number from 1 to 100000"),
        ("detect", "--min-score", "30", "a number from 0 to 1"),
        ("eval", "--min-score", "-0.1", "a number from 0 to 1"),
    ],
)
def test_values_out_of_range_are_refused(
    capsys: pytest.CaptureFixture[str], command: str, option: str, value: str, expected: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, option, value])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert f"argument {option}" in err  # and what else it is called
    assert f": must be {expected}" in err and f"got {brief(value)}" in err


def test_names_that_options_know_are_those_of_the_modules() -> None:
    assert sorted(VARIANTS) == list(PRESETS) and tuple(LAYOUTS) == LAYOUT_NAMES
    assert tuple(EVALUATORS) == EVALUATOR_NAMES


@pytest.mark.parametrize("command", ["train", "eval", "show", "detect", "scenes", "demo"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "SUPPRESS" not in out and "None" not in out


def test_contents_are_said_first(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(data, tmp_path / "run", "--steps", "1") == 0
    first = capsys.readouterr().out.splitlines()[0]
    expected = "train: 4 images, 1 without boxes, 5 boxes; left out: 1 crowd, 2 under a pixel"
    assert first == expected
    weights = str(tmp_path / "run" / "last.pth")
    assert main(["eval", "--data", str(data), "--split", "train", "--weights", weights]) == 0
    assert capsys.readouterr().out.splitlines()[0] == expected


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([0.1, 0.2, 0.3, 0.4], "1 under a pixel"),  # in units of the image
        ([40, 0, 9, 9], "1 outside"),
        (None, "left out: none"),
    ],
)
def test_nothing_to_train_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], box: list[float] | None, reason: str
) -> None:
    entries = [annotation(1, 3, box)] if box else []
    write_dataset(tmp_path, "train", [image_entry(1, 32, 32)], entries)
    assert _train(tmp_path, tmp_path / "run", "--steps", "1") == 2
    err = capsys.readouterr().err
    assert "nothing to train on: 1 images, 1 without boxes, 0 boxes" in err and reason in err
    assert not (tmp_path / "run").exists()
