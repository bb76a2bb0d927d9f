"""What a process is told of the others, and what it may not be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fcos.cli import main
from fcos.commands.devices import device_of_process
from fcos.distributed.launch import Launch, read_launch
from fcos.errors import UserError
from fcos.models.batch_size import check_norms
from fcos.training import save_checkpoint

from .helpers import decided_model, small_model
from .processes import join_all, start_together
from .runs import train

TORCHRUN = {
    "WORLD_SIZE": "4",
    "RANK": "3",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "1",
}


def _set(monkeypatch: pytest.MonkeyPatch, **changes: str | None) -> None:
    for name, value in {**TORCHRUN, **changes}.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)


def test_what_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch)
    assert read_launch() == Launch(3, 4, 1, 2) and read_launch().prefix == "process 3: "
    by_hand = {"LOCAL_RANK": None, "LOCAL_WORLD_SIZE": None}  # on one machine
    _set(monkeypatch, **by_hand)
    assert read_launch() == Launch(3, 4, 3, 4)
    for alone in ("1", "", None):
        _set(monkeypatch, WORLD_SIZE=alone)
        assert read_launch() == Launch() and read_launch().prefix == ""


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("WORLD_SIZE", "two", "WORLD_SIZE must be a whole number from 1 to 1048576, got 'two'"),
        ("RANK", "4", "RANK must be a whole number from 0 to 3, got '4'"),
        ("RANK", None, "RANK must be set with WORLD_SIZE, as torchrun does, got none"),
        ("LOCAL_RANK", "-1", "LOCAL_RANK must be a whole number from 0 to 3, got '-1'"),
        ("MASTER_ADDR", None, "MASTER_ADDR must be set with WORLD_SIZE, as torchrun does"),
        ("MASTER_PORT", "", "MASTER_PORT must be set with WORLD_SIZE, as torchrun does"),
    ],
)
def test_variables_that_do_not_fit(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str | None,
    message: str,
) -> None:
    _set(monkeypatch, **{name: value})
    assert main(["scenes", "--output", "out"]) == 2
    assert capsys.readouterr().err.startswith(f"fcos: error: {message}")


@pytest.mark.parametrize("command", ["demo", "scenes", "show --data nowhere"])
def test_other_commands_take_one_process(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    command: str,
) -> None:
    _set(monkeypatch)
    assert main([*command.split(), "--output", str(tmp_path / "out")]) == 2
    message = "fcos: process 3: error: WORLD_SIZE must be 1 for all commands but train and eval"
    assert capsys.readouterr().err.startswith(message) and not (tmp_path / "out").exists()


def test_each_process_has_the_gpu_of_its_local_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    launch = Launch(3, 4, 1)
    for name in (None, "cuda", "cuda:1"):
        assert device_of_process(name, launch) == torch.device("cuda:1") == taken.pop()
    assert device_of_process("cpu", launch) == torch.device("cpu")
    with pytest.raises(UserError, match="--device must be cuda or cpu in several processes, as "):
        device_of_process("cuda:0", launch)
    with pytest.raises(UserError, match="a GPU for each of its processes, PyTorch sees 2 here"):
        device_of_process(None, Launch(2, 4, 2))
    assert device_of_process("cuda:0", Launch()) == torch.device("cuda:0") and not taken


def test_sync_bn_needs_gpus() -> None:
    """torch's SyncBatchNorm refuses a CPU in the first step, by another word."""
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    for option, name in (("norm", "norm"), ("head_norm", "head-norm")):
        config = small_model(**{option: "sync_bn"}).config
        check_norms(config, cpu, 1)
        check_norms(config, cuda, 2)
        with pytest.raises(UserError, match=f"^{name} must not be sync_bn .*: take --{name} gn"):
            check_norms(config, cpu, 2)
    check_norms(small_model(norm="sync_bn", freeze_at=5).config, cpu, 2)


@pytest.mark.parametrize(
    ("option", "got"),
    [
        ("--steps 3", "steps must be the same in all processes, got 2 in 0, 3 in 1"),
        # what would end in tensors that do not fit, in other losses, in a wait for an evaluation
        ("--width 32", "width must be the same in all processes, got 16 in 0, 32 in 1"),
        ("--preset paper", "preset must be the same in all processes, got 'improved' in 0, 'pap"),
        ("--eval-every 1", "eval_every must be the same in all processes, got 0.0 in 0, 1.0 in 1"),
    ],
)
def test_processes_of_other_options(six_images: Path, option: str, got: str) -> None:
    """As on two machines where one command line was mistyped."""
    arguments = train(six_images, "run", "--steps", "2")
    processes = start_together(arguments, six_images, 2, last=option.split())
    assert join_all(processes) == [2, 2]
    line = (six_images / "log1").read_text()
    assert line.startswith(f"fcos: process 1: error: {got}") and line.count("\n") == 1
    assert line.endswith(": do all of them have the same options, data and --output?\n")
    assert not (six_images / "run").exists()


def test_processes_of_other_data(six_images: Path) -> None:
    """As many images and boxes, and one of them elsewhere."""
    other = six_images / "other"
    (other / "annotations").mkdir(parents=True)
    (other / "train").symlink_to(six_images / "train")
    text = (six_images / "annotations" / "instances_train.json").read_text()
    changed = text.replace("[4, 6, 20, 24]", "[5, 6, 20, 24]", 1)
    assert changed != text
    (other / "annotations" / "instances_train.json").write_text(changed)
    arguments = train(six_images, "run")
    processes = start_together(arguments, six_images, 2, last=["--data", str(other)])
    assert join_all(processes) == [2, 2]
    message = "fcos: process 1: error: checksum of images and annotations must be the same in all"
    assert (six_images / "log1").read_text().startswith(message)


@pytest.mark.parametrize(
    ("option", "got"),
    [
        ("--classes ball", "classes must be the same in all processes, got None in 0, ['ball'] in"),
        ("--classes hat", "classes must be the same in all processes, got None in 0, ['hat'] in 1"),
        ("--iou-threshold 0.3", "postprocess.iou_threshold must be the same in all processes, got"),
        ("--max-detections 7", "postprocess.max_detections must be the same in all processes, got"),
        ("--class-agnostic", "postprocess.class_agnostic must be the same in all processes, got"),
        ("--size 50", "preprocessing.size must be the same in all processes, got 40 in 0, 50 in 1"),
        ("--score-threshold 0.5", "score_threshold must be the same in all processes, got None in"),
    ],
)
def test_an_evaluation_of_other_options(six_images: Path, option: str, got: str) -> None:
    """That would give each process detections of another kind; there are no hats in the data."""
    weights = six_images / "one.pth"
    save_checkpoint(weights, decided_model())
    arguments = ["eval", "--data", str(six_images), "--weights", str(weights), "--device", "cpu"]
    processes = start_together(arguments, six_images, 2, last=option.split())
    assert join_all(processes) == [2, 2]
    line = (six_images / "log1").read_text()
    assert line.startswith(f"fcos: process 1: error: {got}") and line.count("\n") == 1


def test_an_evaluation_of_other_weights(six_images: Path) -> None:
    """Of another size than those of the first process, which all would take."""
    weights = six_images / "one.pth", six_images / "other.pth"
    save_checkpoint(weights[0], small_model())
    save_checkpoint(weights[1], small_model(width=32))
    arguments = ["eval", "--data", str(six_images), "--weights", str(weights[0]), "--device", "cpu"]
    last = ["--weights", str(weights[1])]
    assert join_all(start_together(arguments, six_images, 2, last=last)) == [2, 2]
    message = "fcos: process 1: error: width must be the same in all processes, got 16 in 0, 32"
    assert (six_images / "log1").read_text().startswith(message)
