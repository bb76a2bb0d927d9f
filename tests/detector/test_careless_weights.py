"""Options and files that do not go together: refused in a line, or named, and nothing is lost."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from fcos.cli import main
from fcos.detectors import convert_file, load_model
from fcos.errors import UserError
from fcos.models.resnet import ResNet
from fcos.preprocessing import PREPROCESSING, Preprocessing
from fcos.training import save_checkpoint
from fcos.weights import load_weights, read_weights_file
from fcos.weights.fitting import fit_detector

from .foreign_files import random_file
from .foreign_names import DETECTRON2, TORCHVISION
from .helpers import CATEGORIES, SMALL, small_model


def _train(data: Path, tmp_path: Path, *options: str) -> int:
    sides = ("--size", "64", "--max-size", "96", "--batch", "2", "--steps", "1")
    base = ["train", "--data", str(data), "--output", str(tmp_path / "run"), "--device", "cpu"]
    return main([*base, *sides, *options])


def _checkpoint(path: Path, **changes: Any) -> str:
    save_checkpoint(path, small_model(**changes))
    return str(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((*SMALL, "--stride-in-1x1"), "stride_in_1x1 must be False, as resnet18 has no 1x1"),
        (("--backbone", "resnext50_32x4d", "--backbone-width", "9"), "multiple of 16"),
        ((*SMALL, "--weights", ""), "must have a name, got an empty one"),
        ((*SMALL, "--backbone-weights", ""), "must have a name, got an empty one"),
    ],
)
def test_options_that_make_no_start(
    data: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _train(data, tmp_path, *options) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_one_start_at_a_time(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        _train(data, tmp_path, "--weights", "a.pth", "--backbone-weights", "b.pth")
    assert "not allowed with argument --weights" in capsys.readouterr().err


def test_a_backbone_keeps_its_strides(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "r50.pth")
    blobs = {}
    for name, value in ResNet("resnet50", "bn", 8).state_dict().items():
        parts = name.split(".")
        if name == "conv1.weight":
            blobs["conv1_w"] = value
        elif parts[0] == "bn1" and parts[1] != "num_batches_tracked":
            blobs["res_conv1_bn_" + _CAFFE2[parts[1]]] = value
        elif parts[-1] != "num_batches_tracked" and parts[0] != "bn1":
            block = f"res{int(parts[0][-1]) + 1}_{parts[1]}_branch"
            branch = "1" if parts[2] == "downsample" else "2" + "abc"[int(parts[2][-1]) - 1]
            norm = "downsample.1" in name or parts[2].startswith("bn")
            blobs[f"{block}{branch}_{'bn_' + _CAFFE2[parts[-1]] if norm else 'w'}"] = value
    torch.save(blobs, path)
    small = ("--backbone-width", "8", "--width", "16", "--depth", "1")
    assert _train(data, tmp_path, *small, "--backbone-weights", path, "--no-stride-in-1x1") == 2
    assert f"stride_in_1x1 must be True for {path}, got False" in capsys.readouterr().err
    assert _train(data, tmp_path, *small, "--backbone-weights", path) == 0


_CAFFE2 = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}


def test_norms_without_epsilon_get_one_where_they_are_trained(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = _checkpoint(tmp_path / "w.pth", norm="frozen_bn", norm_eps=0.0)
    assert _train(data, tmp_path, "--weights", weights, "--norm", "bn") == 0
    assert "norm_eps 0 -> 1e-05, for norm bn" in capsys.readouterr().out
    assert load_model(tmp_path / "run" / "last.pth").config.norm_eps == 1e-5


def test_another_preset_leaves_the_colours(data: Path, tmp_path: Path) -> None:
    bgr = Preprocessing(
        64, 96, "short_side", channel_order="bgr", max_value=255, std=(9.0, 8.0, 7.0)
    )
    weights = _checkpoint(tmp_path / "w.pth", preprocessing=bgr)
    assert _train(data, tmp_path, "--weights", weights, "--preset", "torchvision") == 0
    found = load_model(tmp_path / "run" / "last.pth").config.preprocessing
    rule = PREPROCESSING["torchvision"]
    assert found == bgr._replace(rounding=rule.rounding, interpolation=rule.interpolation)


def test_weights_that_the_model_has_no_place_for_are_named() -> None:
    line = fit_detector(small_model(), small_model(depth=2))
    assert "; 8 of the file's are left out: 'head.classification_head.conv.3.weight', " in line
    line = fit_detector(small_model(), small_model(norm="bn"))
    assert "left out: 'backbone.body.bn1.running_mean', " in line
    assert "left out" not in fit_detector(small_model(norm="frozen_bn"), small_model(norm="bn"))


def test_assumptions_of_a_file_are_printed_wherever_it_is_used(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "w.pth"
    torch.save({n: t.float() for n, t in random_file(TORCHVISION).items()}, path)
    note = "the 3 channels are taken to be category ids 1 to 2 and a background"
    options = ("--weights", str(path), "--device", "cpu")
    assert main(["eval", "--data", str(data), "--split", "train", *options]) == 2
    captured = capsys.readouterr()
    assert note in captured.out and "knows 2 categories" in captured.err
    image = str(data / "train" / "13.png")
    assert main(["detect", image, "--output", str(tmp_path / "out"), *options]) == 0
    assert note in capsys.readouterr().out
    assert _train(data, tmp_path, *options) == 0
    assert note in capsys.readouterr().out


@pytest.mark.parametrize("link", [False, True])
def test_convert_does_not_overwrite_what_it_reads(
    tmp_path: Path, link: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in.pth", tmp_path / "in.pth"
    torch.save({n: t.float() for n, t in random_file(TORCHVISION).items()}, source)
    before = source.read_bytes()
    if link:
        out = tmp_path / "link.pth"
        out.symlink_to(source)
    assert main(["convert", str(source), str(out), "--overwrite"]) == 2
    assert "OUT must be another file than" in capsys.readouterr().err
    assert source.read_bytes() == before
    arguments = ["convert", str(source), str(tmp_path / "new.pth"), "--categories", ""]
    assert main(arguments) == 2
    assert "annotation file not found" in capsys.readouterr().err


@pytest.mark.parametrize(
    "mean", [torch.full((3,), 1e9), torch.ones(3, dtype=torch.complex64)], ids=["large", "complex"]
)
def test_settings_in_a_file_that_no_config_takes(tmp_path: Path, mean: torch.Tensor) -> None:
    state = {n: t.float() for n, t in random_file(DETECTRON2).items()}
    state |= {"pixel_mean": mean, "pixel_std": torch.ones(3)}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth: (pixel_)?mean must (be|hold) three numbers"):
        categories = [(entry["id"], entry["name"]) for entry in CATEGORIES]
        convert_file(tmp_path / "w.pth", categories=categories)


def test_a_name_that_two_categories_have_is_matched_by_id() -> None:
    twice = {"class_names": ("cup", "cup", "hat"), "category_ids": (3, 7, 40)}
    model, source = small_model(**twice), small_model(**twice)
    torch.nn.init.normal_(source.head.classification_head.cls_logits.bias)
    fit_detector(model, source)
    own, theirs = (m.head.classification_head.cls_logits.bias for m in (model, source))
    assert torch.equal(own, theirs)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("format", 3, "'format' is not: must be 1 or 2, got 3"),
        ("format", torch.tensor([1, 2]), "'format' is not: must be 1 or 2"),
        ("depth", 65536, "depth must be a whole number from 1 to 1000, got 65536"),
        ("assignment", {"ranges": [[float("nan"), 1.0]] * 5}, "to a larger one, got .*nan"),
        ("model", {"head.classification_head.cls_logits.bias": torch.tensor([0.0, 1, torch.nan])},
         r"weights: 1 not finite \('head.classification_head.cls_logits.bias'\)"),
    ],
)  # fmt: skip
def test_checkpoints_edited_by_hand(tmp_path: Path, part: str, value: Any, message: str) -> None:
    path = tmp_path / "w.pth"
    save_checkpoint(path, small_model())
    content = torch.load(path)
    place = content if part in content else content["config"]
    place[part] = {**place[part], **value} if isinstance(value, dict) else value
    torch.save(content, path)
    with pytest.raises(UserError, match=message):
        load_model(path)


def test_a_small_pickle_takes_little_memory(tmp_path: Path) -> None:
    """It puts None into the place 1,000,000 of what it remembers."""
    path = tmp_path / "w.pkl"
    path.write_bytes(b"\x80\x02Nr" + (1_000_000).to_bytes(4, "little") + b".")
    tracemalloc.start()
    try:
        assert read_weights_file(path) is None
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_errors_of_weights_name_the_file_and_the_likely_cause(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    state = {n: t.float() for n, t in random_file(TORCHVISION).items()}
    torch.save({**state, "foo": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"w\.pth: weights must have names of this layout only"):
        load_model(path)
    deeper = ResNet("resnet34", "bn", 8).state_dict()
    with pytest.raises(ValueError, match="another network"):
        load_weights(ResNet("resnet18", "bn", 8), deeper)
    with pytest.raises(ValueError, match="another norm"):
        load_weights(ResNet("resnet34", "gn", 8), deeper)
