"""Options that change what eval and detect give: thresholds, limits and classes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fcos.cli import main
from fcos.commands.detection_rule import apply_options, find_channels
from fcos.errors import UserError
from fcos.models import FCOS
from fcos.options.commands import make_parser
from fcos.structures import ImageBatch
from fcos.training.checkpoint import save_checkpoint

from .helpers import annotation, decided_model, image_entry, small_model, write_dataset


@pytest.fixture
def weights(tmp_path: Path) -> str:
    save_checkpoint(tmp_path / "model.pth", decided_model())
    return str(tmp_path / "model.pth")


def _options(*more: str) -> argparse.Namespace:
    return make_parser().parse_args(["eval", "--data", "a", "--weights", "b", *more])


def _changed(*more: str) -> FCOS:
    model = decided_model()
    apply_options(model, _options(*more))
    return model


def test_nothing_given_changes_nothing() -> None:
    assert _changed().config == decided_model().config


def test_the_rule_takes_what_is_given() -> None:
    options = "--iou-threshold 0.7 --max-detections 1000 --class-agnostic"
    expected = decided_model().config.postprocess._replace(
        iou_threshold=0.7, max_detections=1000, class_agnostic=True
    )
    assert _changed(*options.split()).config.postprocess == expected


def test_a_threshold_below_that_of_the_model(data: Path, tmp_path: Path) -> None:
    """It is 0.2 in this preset, and what is below that is not looked at unless it is asked for."""
    save_checkpoint(tmp_path / "model.pth", decided_model(preset="torchvision"))
    weights = str(tmp_path / "model.pth")
    options = ["--output", str(tmp_path / "found.json"), "--max-detections", "1000"]
    least = []
    for more in ([], ["--score-threshold", "0.01"]):
        assert _eval(data, weights, *options, *more) == 0
        least.append(min(result["score"] for result in _read(tmp_path / "found.json")))
    assert least[0] > 0.2 > least[1] >= 0.01


@pytest.mark.parametrize(
    ("classes", "channels"),
    [
        ("hat", [2]),
        ("hat,ball", [0, 2]),
        (" 40 , cup", [1, 2]),
        ("a, b", [3]),
        ("8", [4]),
        ("9", [5]),
        ("category 9", [5]),
    ],
)
def test_classes_by_name_and_id(classes: str, channels: list[int]) -> None:
    names, ids = ("ball", "cup", "hat", "a, b", "7", "", "x"), (3, 7, 40, 1, 8, 9, None)
    config = small_model(class_names=names, category_ids=ids).config
    assert find_channels(config, classes) == channels


@pytest.mark.parametrize("classes", ["dog", "", "ball,", "ball,dog", "0"])
def test_unknown_classes_are_refused(classes: str) -> None:
    with pytest.raises(UserError, match="--classes must be names or ids of categories, of 'ball'"):
        find_channels(small_model().config, classes)


def test_other_classes_take_no_place() -> None:
    """Of the five detections that an image may have, all are hats."""
    images = torch.rand(1, 3, 64, 64)
    batch = ImageBatch(images, torch.tensor([[64, 64]]))
    with torch.inference_mode():
        whole = decided_model().eval().detect(batch)
        hats = _changed("--classes", "hat", "--max-detections", "5").eval().detect(batch)
    of_hats = whole.labels[0, : whole.count[0]] == 2
    assert hats.count.item() == 5 and set(hats.labels[0].tolist()) == {2}
    assert not of_hats[:5].all()
    torch.testing.assert_close(hats.scores[0], whole.scores[0, : whole.count[0]][of_hats][:5])


def _eval(data: Path, weights: str, *more: str) -> int:
    options = ["--split", "train", "--device", "cpu", "--weights", weights]
    return main(["eval", "--data", str(data), *options, *more])


def _read(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())


def test_eval(data: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, plots = tmp_path / "found.json", tmp_path / "plots"
    common = ["--output", str(output), "--plots", str(plots)]
    rule = ["--max-detections", "300", "--score-threshold", "0.55", "--evaluator", "pycocotools"]
    assert _eval(data, weights, *common, *rule) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("AR300 " in line for line in lines)
    assert any(line.startswith("evaluated by pycocotools 2.") for line in lines)
    (start,) = (i for i, line in enumerate(lines) if line.startswith("class "))
    assert [line.split()[0] for line in lines[start + 1 : start + 4]] == ["ball", "cup", "hat"]
    assert [line.split()[3] for line in lines[start + 1 : start + 4]] == ["3", "3", "1"]
    assert min(result["score"] for result in _read(output)) >= 0.55
    assert len(list(plots.iterdir())) == 2
    assert _eval(data, weights, *common) == 2
    assert "precision_recall.png exists: add --overwrite" in capsys.readouterr().err

    assert _eval(data, weights, *common, "--overwrite", "--classes", "cup,hat") == 0
    lines = capsys.readouterr().out.splitlines()
    assert {result["category_id"] for result in _read(output)} == {7, 40}
    (start,) = (i for i, line in enumerate(lines) if line.startswith("class "))
    assert [line.split()[0] for line in lines[start + 1 : start + 4]] == ["cup", "hat", "drew"]


def test_an_evaluator_is_needed_before_anything_is_detected(
    data: Path,
    weights: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("hotcoco", "faster_coco_eval", "pycocotools", "pycocotools.coco"):
        monkeypatch.setitem(sys.modules, name, None)
    assert _eval(data, weights) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("fcos: error: pycocotools is missing: pip install")
    assert "detections" not in captured.out


def test_eval_of_categories_that_the_data_lacks(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names, ids = ("ball", "cup", "hat", "dog"), (3, 7, 40, 50)
    model = decided_model(class_names=names, category_ids=ids)
    save_checkpoint(tmp_path / "model.pth", model)
    assert _eval(data, str(tmp_path / "model.pth"), "--classes", "dog") == 2
    assert "--classes must be categories of the data, 'ball', 'cup'" in capsys.readouterr().err


def test_data_without_annotations(
    tmp_path: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As COCO's test-dev: only the detections are written."""
    write_dataset(tmp_path, "train", [image_entry(1, 64, 64)], [])
    path = tmp_path / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    del content["annotations"]
    path.write_text(json.dumps(content))
    assert _eval(tmp_path, weights) == 0
    (_, line) = capsys.readouterr().out.splitlines()
    assert line.startswith("nothing to measure: ") and line.endswith("writes the detections")
    output = tmp_path / "found.json"
    assert _eval(tmp_path, weights, "--output", str(output)) == 0
    assert "nothing to measure" in capsys.readouterr().out
    results = _read(output)
    assert results and all(result["image_id"] == 1 for result in results)


def test_detect(tmp_path: Path, weights: str) -> None:
    write_dataset(tmp_path, "train", [image_entry(1, 64, 64)], [annotation(1, 3, [0, 0, 9, 9])])
    image = str(tmp_path / "train" / "1.png")

    def found(*more: str) -> list[dict[str, Any]]:
        output = ["--output", str(tmp_path / "out"), "--overwrite", "--device", "cpu"]
        assert main(["detect", image, "--weights", weights, *output, *more]) == 0
        return _read(tmp_path / "out" / "detections.json")[0]["detections"]

    assert 2 < len(found()) < len(found("--score-threshold", "0.01"))
    assert len(found("--max-detections", "2")) == 2
    assert {row["category"] for row in found("--classes", "3,hat")} == {"ball", "hat"}
    assert len(found("--class-agnostic")) < len(found())
    unsuppressed = len(found("--class-agnostic", "--iou-threshold", "1"))
    assert len(found("--class-agnostic", "--iou-threshold", "0")) < unsuppressed
