"""`fcos train --resume`: the stored model and recipe, and what the command line makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fcos.cli import main
from fcos.models.resnet import ResNet
from fcos.training import load_checkpoint

from .helpers import SMALL

RECIPE = (
    "--steps 2 --lr 0.003 --optimizer adamw --flip 0 --ema 0.9 --seed 5 --limit 3 --log-every 1"
).split()


@pytest.fixture
def run(data: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    output = data / "run"
    assert main(["train", "--data", str(data), "--output", str(output), *SMALL, *RECIPE]) == 0
    capsys.readouterr()
    return output


def _resume(run: Path, *more: str) -> int:
    arguments = ["train", "--data", str(run.parent), "--output", str(run), "--device", "cpu"]
    return main([*arguments, "--resume", *more])


def test_alone_it_takes_everything_stored(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "last.pth").read_bytes()
    assert _resume(run) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"going on from {run / 'last.pth'}"
    assert lines[1].startswith("train: 3 images")
    assert lines[-1] == "already at step 2 of 2" and (run / "last.pth").read_bytes() == before


def test_changes_are_named_and_the_rest_is_kept(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = load_checkpoint(run / "last.pth")
    assert _resume(run, "--steps", "4", "--lr", "0.001", "--flip", "0") == 0
    out = capsys.readouterr().out
    assert "already at step 2 of 4\nother than before: steps 2 -> 4, lr 0.003 -> 0.001\n" in out
    after = load_checkpoint(run / "last.pth")
    assert after["step"] == 4 and after["config"] == before["config"]
    assert after["settings"] == {**before["settings"], "steps": 4, "lr": 0.001}
    assert after["data"] == before["data"] and after["data"]["limit"] == 3


def test_changes_are_applied(run: Path) -> None:
    assert _resume(run, "--steps", "3", "--weight-decay", "0.25") == 0
    decays = [
        g["weight_decay"] for g in load_checkpoint(run / "last.pth")["optimizer"]["param_groups"]
    ]
    assert decays == [0.25, 0]


def test_epochs_count_from_the_start(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _resume(run, "--epochs", "2") == 0  # three images by two
    assert "already at step 2 of 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--optimizer", "sgd"], "optimizer must be 'adamw' to resume"),
        (["--width", "8"], "width must be 16 to resume"),
        (["--norm", "bn"], "norm must be 'gn' to resume"),
        (["--preset", "paper"], "preset must be 'improved' to resume"),
        (["bias_lr_factor=2"], "bias_lr_factor must be 1.0 to resume"),
        (["--recipe", "paper-1x"], "--recipe must not be given with --resume, whose values"),
        (["--backbone-weights", "a.pth"], "--backbone-weights must not be given with --resume"),
    ],
)
def test_another_model_or_optimizer_is_refused_by_name(
    run: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    before = (run / "last.pth").read_bytes()
    assert _resume(run, "--steps", "4", *change) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"fcos: error: {message}") and err.count("\n") == 1
    assert (run / "last.pth").read_bytes() == before


def test_other_classes_are_refused_by_name(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run.parent / "annotations" / "instances_train.json"
    path.write_text(path.read_text().replace('"cup"', '"mug"'))
    assert _resume(run, "--steps", "4") == 2
    err = capsys.readouterr().err
    assert "class_names must be ('ball', 'cup', 'hat') to resume" in err and "'mug'" in err


def test_metrics_behind_the_checkpoint_are_dropped(run: Path) -> None:
    """Of a run that was killed after the checkpoint, in the middle of a line."""
    path = run / "metrics.jsonl"
    with path.open("a") as file:
        file.write('{"step": 3, "loss": 99}\n{"step": 4, "AP": 1}\n[]\n{"step": 5, "lo')
    assert _resume(run, "--steps", "4") == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all(line["loss"] != 99 for line in lines)


def _changed(content: Any, keys: tuple[str, ...], value: Any) -> Any:
    """A copy in which what lies under these keys is `value`, or gone if that is ABSENT."""
    copy = dict(content)
    if keys[1:]:
        copy[keys[0]] = _changed(content[keys[0]], keys[1:], value)
    elif value is ABSENT:
        del copy[keys[0]]
    else:
        copy[keys[0]] = value
    return copy


ABSENT = ...  # shown alike by every process that collects these tests
IN_EVERY_CHECKPOINT = [
    (("config",), []),
    (("config",), {}),
    (("config", "width"), ABSENT),
    (("config", "width"), "16"),
    (("config", "width"), 10**12),
    (("config", "preset"), "none"),
    (("config", "norm"), "none"),
    (("config", "class_names"), [1, 2, 3]),
    (("config", "assignment"), {}),
    (("config", "assignment", "ranges"), [1]),
    (("config", "postprocess"), None),
    (("config", "postprocess", "score"), 3),
    (("config", "preprocessing"), None),
    (("config", "preprocessing"), {}),
    (("config", "preprocessing", "size"), "64"),
    (("config", "preprocessing", "size"), 0),
    (("config", "preprocessing", "mean"), [0, "a", 1]),
    (("model",), {}),
    (("model",), []),
    (("model",), {1: torch.zeros(1)}),
    (("model", "head.classification_head.cls_logits.bias"), torch.zeros(7)),
]
TO_RESUME = [
    (("settings",), {}),
    (("settings",), []),
    (("settings", "lr"), "0.1"),
    (("settings", "batch"), 2.5),
    (("settings", "schedule"), "zigzag"),
    (("data",), [1]),
    (("data", "limit"), "3"),
    (("step",), "3"),
    (("step",), -3),
    (("rng",), {}),
    (("rng", "torch"), torch.zeros(3)),
    (("window",), [1]),
    (("window",), torch.zeros(3, 2)),
    (("optimizer",), {}),
    (("optimizer", "state"), {0: {"exp_avg": torch.zeros(3)}}),
    (("ema",), []),
    (("ema", "updates"), "3"),
]


@pytest.mark.parametrize("change", IN_EVERY_CHECKPOINT + TO_RESUME, ids=str)
def test_a_checkpoint_that_was_edited(
    run: Path, capsys: pytest.CaptureFixture[str], change: tuple[tuple[str, ...], Any]
) -> None:
    keys, value = change
    part = keys[0]
    # without the average, which is what is evaluated where it is there
    content = {**load_checkpoint(run / "last.pth")}
    if part == "model":
        content["ema"] = None
    torch.save(_changed(content, keys, value), run / "last.pth")
    more = ["--ema", "0"] if part == "model" else []
    assert _resume(run, "--steps", "4", *more) == 2
    errors = [capsys.readouterr().err]
    if change in IN_EVERY_CHECKPOINT:
        arguments = ["eval", "--data", str(run.parent), "--weights", str(run / "last.pth")]
        assert main([*arguments, "--split", "train", "--device", "cpu"]) == 2
        errors.append(capsys.readouterr().err)
    start = f"{run / 'last.pth'} must be a checkpoint of `fcos train`, its part {part!r} is not"
    for error in errors:
        assert error.startswith(f"fcos: error: {start}: ")
        assert error.count("\n") == 1 and len(error) < len(start) + 400


def test_weights_of_another_network_are_refused_briefly(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run.parent / "backbone.pth"

    def message(weights: Any) -> str:
        torch.save(weights, path)
        arguments = ["train", "--data", str(run.parent), "--output", str(run.parent / "other")]
        assert main([*arguments, *SMALL, "--steps", "1", "--backbone-weights", str(path)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and len(error) < len(str(path)) + 400
        return error

    assert "got a whole detector" in message(load_checkpoint(run / "last.pth"))
    error = message(ResNet("resnet18", "bn", 8).state_dict())
    assert "40 not of this network ('bn1.running_mean', 'bn1.running_var', " in error
    assert error.endswith(" and 37 more) (are they of another norm?)\n")
    error = message(ResNet("resnet18", "gn", 4).state_dict())
    assert "60 of another shape ('conv1.weight', " in error
    assert "the first must be [8, 3, 7, 7], got [4, 3, 7, 7]" in error and "another width" in error
    stem = {"conv1.weight": torch.zeros(8, 3, 7, 7)}
    error = message({**stem, "a": torch.zeros(1)})
    assert "59 of 60 missing ('bn1.weight', " in error and "1 not of this network ('a')" in error
    assert "(are they of another network?)" in error
    assert "names of weights must be texts, got 3" in message({3: torch.zeros(1)})
    assert "got 1 of 2 entries that are none ('a'; the first is int)" in message({**stem, "a": 1})
    assert "got list" in message([1])


def test_another_number_of_images_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _resume(run, "--steps", "3", "--limit", "2") == 0
    assert "limit 3 -> 2, images 3 -> 2\n" in capsys.readouterr().out


def test_a_model_alone_cannot_resume(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = load_checkpoint(run / "last.pth")
    del content["optimizer"], content["rng"]
    torch.save(content, run / "last.pth")
    assert _resume(run) == 2
    assert "last.pth: holds a model, but no optimizer, no rng to resume" in capsys.readouterr().err


def test_a_checkpoint_of_before_recipes_goes_on(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without settings that came later, whose defaults are what it was trained with."""
    content = load_checkpoint(run / "last.pth")
    later = ("factor", "milestones", "warmup_kind", "norm_biases")
    settings = {k: v for k, v in content["settings"].items() if not k.endswith(later)}
    assert len(settings) == len(content["settings"]) - 8
    notes = {name: content["data"][name] for name in ("split", "limit", "eval_every", "images")}
    for group in content["optimizer"]["param_groups"]:
        del group["lr_factor"]
    assert _resume(run, "--steps", "4") == 0
    expected = load_checkpoint(run / "last.pth")["model"]
    torch.save({**content, "settings": settings, "data": notes}, run / "last.pth")
    capsys.readouterr()
    assert _resume(run, "--steps", "4") == 0
    assert "other than before: steps 2 -> 4\n" in capsys.readouterr().out
    found = load_checkpoint(run / "last.pth")["model"]
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_checkpoint_without_notes_or_window_goes_on(run: Path) -> None:
    """As the first versions wrote it."""
    content = load_checkpoint(run / "last.pth")
    del content["data"], content["window"]
    torch.save(content, run / "last.pth")
    assert _resume(run, "--steps", "3", "--limit", "3") == 0
    assert load_checkpoint(run / "last.pth")["step"] == 3
