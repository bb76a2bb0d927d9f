"""The commands on files of other programs: `fcos convert`, and torchvision's weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fcos
import pytest
import torch
from fcos.cli import main
from fcos.detectors import load_model

from . import foreign_names as foreign
from .foreign_files import random_file
from .helpers import CATEGORIES, write_dataset

_NAMES = {
    "torchvision": foreign.TORCHVISION,
    "fcos_core": foreign.FCOS_CORE,
    "adelaidet": foreign.ADELAIDET,
    "detectron2": foreign.DETECTRON2,
    "mmdetection": foreign.MMDETECTION,
}


def _file(path: Path, layout: str, **kind: Any) -> str:
    state = random_file(_NAMES[layout], **kind)
    torch.save({"model": {f"module.{k}": v.float() for k, v in state.items()}}, path)
    return str(path)


def _categories(path: Path) -> str:
    content = {"images": [], "annotations": [], "categories": CATEGORIES}
    path.write_text(json.dumps(content))
    return str(path)


@pytest.mark.parametrize("layout", _NAMES)
def test_a_converted_file_detects(
    layout: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its classes are those of the annotation file, in its program's order."""
    # torchvision's channels are ids, the largest of which is 40 in these data
    kind = {"classes": 41} if layout == "torchvision" else {}
    source = _file(tmp_path / "in.pth", layout, **kind)
    options = ["--categories", _categories(tmp_path / "c.json")]
    options += ["--preset", "improved"] if layout == "fcos_core" else []
    out = str(tmp_path / "out.pth")
    assert main(["convert", source, out, *options]) == 0
    assert capsys.readouterr().out.endswith(f"wrote {out}\n")
    config = load_model(out).config
    in_file = tuple(category["id"] for category in CATEGORIES)
    expected = in_file if layout in ("fcos_core", "mmdetection") else tuple(sorted(in_file))
    assert tuple(number for number in config.category_ids if number is not None) == expected
    arguments = ["detect", str(data / "train"), "--weights", out, "--output", str(tmp_path / "d")]
    assert main([*arguments, "--size", "64", "--max-size", "96", "--device", "cpu"]) == 0
    arguments = ["eval", "--data", str(data), "--split", "train", "--weights", out]
    assert main([*arguments, "--size", "64", "--max-size", "96", "--device", "cpu"]) == 0


def test_what_is_assumed_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = _file(tmp_path / "in.pth", "adelaidet", classes=80)
    assert main(["convert", source, str(tmp_path / "out.pth")]) == 0
    out = capsys.readouterr().out
    assert "the 80 classes are taken to be COCO's" in out and "BGR with mean" in out


@pytest.mark.parametrize(
    ("layout", "options", "message"),
    [
        ("fcos_core", [], "preset must be paper or improved"),
        ("fcos_core", ["--preset", "mmdet"], "preset must be paper or improved"),
        ("adelaidet", [], "categories must be given for a network of 3 classes"),
        ("adelaidet", ["--layout", "mmdetection"], "weights must "),
    ],
)
def test_what_has_to_be_given_is_said_in_one_line(
    layout: str,
    options: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = _file(tmp_path / "in.pth", layout)
    assert main(["convert", source, str(tmp_path / "out.pth"), *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error
    assert not (tmp_path / "out.pth").exists()


def test_no_file_is_replaced_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = _file(tmp_path / "in.pth", "adelaidet", classes=80)
    before = Path(source).read_bytes()
    for options in ([], ["--overwrite"]):
        assert main(["convert", source, source, *options]) == 2
        assert "OUT must be another file than" in capsys.readouterr().err
    assert Path(source).read_bytes() == before
    out = str(tmp_path / "out.pth")
    assert main(["convert", source, out]) == 0
    assert main(["convert", source, out]) == 2
    assert "exists: add --overwrite" in capsys.readouterr().err
    assert main(["convert", source, out, "--overwrite"]) == 0
    assert main(["convert", out, str(tmp_path / "b.pth")]) == 2
    assert "is a checkpoint of `fcos train` already" in capsys.readouterr().err


def test_other_layouts_are_sent_to_convert(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = _file(tmp_path / "in.pth", "mmdetection")
    arguments = ["detect", str(tmp_path), "--weights", source, "--output", str(tmp_path / "out")]
    write_dataset(tmp_path, "train", [{"file_name": "1.png", "width": 9, "height": 9}], [])
    assert main(arguments) == 2
    expected = f"{source} holds weights of mmdetection: `fcos convert {source} OUT` comes first"
    assert expected in capsys.readouterr().err


def test_torchvisions_weights_are_used_as_they_are(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """91 channels evaluated on three categories, with ids in COCO's range."""
    content_path = data / "annotations" / "instances_train.json"
    content = json.loads(content_path.read_text())
    names = {3: "car", 7: "train", 40: "baseball glove"}
    content["categories"] = [{"id": i, "name": name} for i, name in names.items()]
    content_path.write_text(json.dumps(content))
    source = _file(tmp_path / "fcos_resnet50.pth", "torchvision", classes=91)
    arguments = ["eval", "--data", str(data), "--split", "train", "--weights", source]
    assert main([*arguments, "--size", "64", "--max-size", "96", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    line = "left out of the results: 88 of 91 channels stand for no category of the data: 0, 1, 2 "
    assert out.count(line) == 1
    found = fcos.load(source, "cpu")(data / "train" / "11.png", min_score=0.05)
    assert set(found[0].category_ids) <= set(range(1, 91)) - {12, 26, 29, 30}

    content["categories"].append({"id": 91, "name": "hat"})
    content_path.write_text(json.dumps(content))
    assert main([*arguments, "--device", "cpu"]) == 2
    assert "none against 91 'hat'" in capsys.readouterr().err


def test_a_training_starts_from_torchvisions_weights(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = _file(tmp_path / "fcos_resnet50.pth", "torchvision", classes=91)
    arguments = ["train", "--data", str(data), "--output", str(tmp_path / "run"), "--steps", "1"]
    arguments += ["--batch", "2", "--size", "64", "--max-size", "96", "--device", "cpu"]
    assert main([*arguments, "--lr", "1e-6", "--weights", source]) == 0
    out = capsys.readouterr().out
    assert "; 2 of 3 classes start from the prior: 'ball', 'hat'" in out  # COCO has cups
    config = load_model(tmp_path / "run" / "last.pth").config
    assert (config.preset, config.norm, config.freeze_at) == ("torchvision", "frozen_bn", 2)
    assert config.preprocessing.interpolation == "torch"
