"""`fcos train --weights` and `--backbone-weights`: what a training takes over of other weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fcos.cli import main
from fcos.detectors import load_model
from fcos.models import FCOS
from fcos.models.resnet import ResNet
from fcos.preprocessing import Preprocessing
from fcos.training import load_checkpoint, save_checkpoint
from fcos.weights.fitting import fit_detector

from .helpers import SMALL, small_model

LAYER = "head.classification_head.cls_logits"
OTHER = {"class_names": ("hat", "dog"), "category_ids": (1, 2)}
PRIOR = -4.59512


def _train(data: Path, output: Path, *options: str) -> int:
    arguments = ["train", "--data", str(data), "--output", str(output), "--steps", "1"]
    return main([*arguments, "--batch", "2", "--device", "cpu", *options])


def _saved(path: Path, model: FCOS) -> str:
    save_checkpoint(path, model)
    return str(path)


def test_everything_fits_a_model_of_the_same_classes() -> None:
    model, source = small_model(), small_model()
    for value in source.parameters():
        torch.nn.init.normal_(value)
    count = len([n for n in source.state_dict() if not n.startswith(LAYER)])
    assert fit_detector(model, source) == f"weights: {count} of {count} tensors fit"
    for name, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_rows_of_the_class_layer_follow_the_names() -> None:
    model, source = small_model(), small_model(**OTHER)
    torch.nn.init.normal_(source.head.classification_head.cls_logits.bias)
    line = fit_detector(model, source)
    assert line.endswith("; 2 of 3 classes start from the prior: 'ball', 'cup'")
    own, theirs = (m.head.classification_head.cls_logits for m in (model, source))
    assert own.bias.tolist() == pytest.approx([PRIOR, PRIOR, theirs.bias[0].item()])
    assert torch.equal(own.weight[2], theirs.weight[0])
    assert not torch.equal(own.weight[1], theirs.weight[1])


def test_ids_count_where_a_file_has_no_names() -> None:
    model = small_model()
    source = small_model(class_names=("", "", "", ""), category_ids=(None, 40, 3, 5))
    torch.nn.init.normal_(source.head.classification_head.cls_logits.bias)
    assert "; 1 of 3 classes" in fit_detector(model, source)
    bias = source.head.classification_head.cls_logits.bias
    found = model.head.classification_head.cls_logits.bias.tolist()
    assert found == pytest.approx([bias[2].item(), PRIOR, bias[1].item()])


def test_what_does_not_fit_is_named() -> None:
    model, source = small_model(), small_model(depth=2, preset="torchvision")
    line = fit_detector(small_model(width=20), source)
    assert ", not 'backbone.fpn." in line and "and " in line and "3 of 3 classes" in line
    line = fit_detector(model, source)
    scale = "'head.regression_head.scales.{}.scale'"
    assert f"not {scale.format(0)}, {scale.format(1)}, " in line
    assert "start from the prior" not in line


def test_training_goes_on_as_the_file_has_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Preset, network and preprocessing are the file's; classes the data's; options come first."""
    preprocessing = Preprocessing(64, 96, channel_order="bgr", max_value=255, std=(9.0, 8.0, 7.0))
    rule = small_model(preset="mmdet").config.postprocess._replace(iou_threshold=0.45)
    source = small_model(preset="mmdet", preprocessing=preprocessing, postprocess=rule, **OTHER)
    weights = _saved(tmp_path / "w.pth", source)
    assert _train(data, tmp_path / "a", "--weights", weights, "--max-size", "80") == 0
    out = capsys.readouterr().out
    assert f"model options of {weights}: preset improved -> mmdet, backbone resnet50 ->" in out
    assert "2 of 3 classes start from the prior: 'ball', 'cup'" in out
    config = load_model(tmp_path / "a" / "last.pth").config
    assert config.class_names == ("ball", "cup", "hat") and config.category_ids == (3, 7, 40)
    assert config.preset == "mmdet" and config.postprocess == rule
    assert config.preprocessing == preprocessing._replace(max_size=80)
    assert (config.width, config.depth, config.norm) == (16, 1, "gn")


def test_another_preset_brings_its_rules(data: Path, tmp_path: Path) -> None:
    weights = _saved(tmp_path / "w.pth", small_model(preset="mmdet"))
    options = ("--weights", weights, "--preset", "torchvision", "--size", "64", "--max-size", "96")
    assert _train(data, tmp_path / "a", *options) == 0
    config = load_model(tmp_path / "a" / "last.pth").config
    expected = small_model(preset="torchvision").config
    for name in ("variant", "assignment", "loss", "postprocess"):
        assert getattr(config, name) == getattr(expected, name)


def test_a_run_that_began_from_weights_resumes(data: Path, tmp_path: Path) -> None:
    source = small_model(preset="mmdet", preprocessing=Preprocessing(64, 96, interpolation="torch"))
    weights = _saved(tmp_path / "w.pth", source)
    assert _train(data, tmp_path / "a", "--weights", weights, "--lr", "0.001") == 0
    first = load_checkpoint(tmp_path / "a" / "last.pth")
    arguments = ["train", "--data", str(data), "--output", str(tmp_path / "a"), "--resume"]
    assert main([*arguments, "--steps", "2", "--device", "cpu"]) == 0
    second = load_checkpoint(tmp_path / "a" / "last.pth")
    assert second["config"] == first["config"] and second["step"] == 2


def test_backbone_weights(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = ResNet("resnet18", "bn", 8)
    state = {**source.state_dict(), "fc.weight": torch.zeros(1000, 64)}
    torch.save(state, tmp_path / "r18.pth")
    options = ["--backbone-weights", str(tmp_path / "r18.pth"), "--norm", "frozen_bn"]
    options += ["--freeze-at", "2"]
    small = [o for o in SMALL if o not in ("--norm", "gn")]
    assert _train(data, tmp_path / "a", *small, *options) == 0
    capsys.readouterr()
    body = load_model(tmp_path / "a" / "last.pth").backbone.body
    assert torch.equal(body.conv1.weight, source.conv1.weight)
    assert torch.equal(body.layer1[0].conv1.weight, source.layer1[0].conv1.weight)
    assert not torch.equal(body.layer3[0].conv1.weight, source.layer3[0].conv1.weight)


@pytest.mark.parametrize("option", ["--weights", "--backbone-weights"])
def test_neither_goes_with_resume(
    data: Path, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(data, tmp_path / "a", "--resume", option, "x.pth") == 2
    assert f"{option} must not be given with --resume" in capsys.readouterr().err


def test_weights_that_are_not_there(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(data, tmp_path / "a", "--weights", str(tmp_path / "no.pth")) == 2
    assert "no.pth" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_nothing_is_frozen_that_was_never_trained(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(data, tmp_path / "a", *SMALL, "--freeze-at", "2") == 2
    assert "--freeze-at must be 0 without --weights" in capsys.readouterr().err
