"""Several processes train and evaluate as one would, and end together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from fcos.cli import main
from fcos.data import CocoDataset, find_split, training_loader
from fcos.detectors import load_model
from fcos.errors import TrainingError
from fcos.evaluation import evaluate
from fcos.launch import Launch
from fcos.models import FCOS
from fcos.processes import joined
from fcos.training import load_checkpoint, save_checkpoint
from torch import Tensor

from .helpers import SMALL, annotation, decided_model, image_entry, write_dataset
from .processes import (
    command,
    free_port,
    join_all,
    run_together,
    start_function,
    start_together,
)

# float32 sums over the images in another order; measured: 3e-7 on the curves
_ROUNDING = 1e-5


@pytest.fixture
def six_images(tmp_path: Path) -> Path:
    """Two of them with boxes: of three processes, one at least has none in a step of six."""
    images = [image_entry(i, 64, 48) for i in range(1, 7)]
    boxes = [annotation(i, 3 + 4 * (i % 2), [4 * i, 6, 20, 24]) for i in (1, 1, 2, 2, 2)]
    write_dataset(tmp_path, "train", images, boxes)
    sizes = [(64, 48), (40, 64), (64, 64), (60, 40), (48, 48), (64, 40), (56, 64)]
    images = [image_entry(i, *size) for i, size in enumerate(sizes, start=11)]
    write_dataset(tmp_path, "val", images, [annotation(i, 3, [8, 8, 20, 20]) for i in (11, 13, 15)])
    return tmp_path


def _train(data: Path, output: str, *more: str) -> list[str]:
    options = ["--batch", "6", "--steps", "3", "--lr", "0.01", "--warmup", "0", "--log-every", "1"]
    return ["train", "--data", str(data), "--output", str(data / output), *SMALL, *options, *more]


def _curve(output: Path) -> list[dict[str, Any]]:
    """The metrics without the times, which are no test's."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in lines]


def _assert_same_curve(output: Path, expected: Path, rounding: float) -> None:
    ours, theirs = _curve(output), _curve(expected)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=rounding)


def _difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """Relative, by the norm over all tensors."""
    one, other = (torch.cat([t.flatten().double() for t in all_]) for all_ in (ours, theirs))
    assert other.norm() > 0
    return float((one - other).norm() / other.norm())


def _gradients(output: Path) -> list[Tensor]:
    """Of the one step of a run without weight decay and clipping: what SGD's momentum began with.

    The settings of such a run are those of `ONE_STEP`.
    """
    state = load_checkpoint(output / "last.pth")["optimizer"]["state"]
    return [state[number]["momentum_buffer"] for number in sorted(state)]


ONE_STEP = ["--steps", "1", "--weight-decay", "0", "--clip", "0"]


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("norm", ["gn", "frozen_bn"])
def test_gradients_of_a_step(six_images: Path, world: int, norm: str) -> None:
    more = [*ONE_STEP, "--norm", norm]
    assert main(_train(six_images, "one", *more)) == 0
    run_together(_train(six_images, "several", *more), six_images, world)
    ours, theirs = (_gradients(six_images / name) for name in ("several", "one"))
    assert _difference(ours, theirs) < _ROUNDING
    _assert_same_curve(six_images / "several", six_images / "one", _ROUNDING)


def test_weights_after_three_steps_and_who_speaks(six_images: Path) -> None:
    """Steps of 6 of 5 images, so that the shares are other images each time; in parts, too."""
    more = ["--limit", "5", "--ema", "0.5"]
    assert main(_train(six_images, "one", *more)) == 0
    begin = load_checkpoint(six_images / "one" / "last.pth")
    more += ["--accumulate", "3"]
    printed = run_together(_train(six_images, "several", *more), six_images, 2)
    _assert_same_curve(six_images / "several", six_images / "one", _ROUNDING)
    after = load_checkpoint(six_images / "several" / "last.pth")
    for part in ("model", "ema"):
        one, other = (c[part].get("model", c[part]) for c in (after, begin))
        assert _difference(list(one.values()), list(other.values())) < _ROUNDING
    assert "3 steps of 6 images on cpu in 2 processes" in printed[0]
    assert printed[1] == ""
    runs = (six_images / name for name in ("one", "several"))
    one, several = (sorted(path.name for path in run.iterdir()) for run in runs)
    assert one == several


def test_only_the_first_process_writes(six_images: Path) -> None:
    other = six_images / "other"
    processes = start_together(
        _train(six_images, "run"), six_images, 2, last=["--output", str(other)]
    )
    assert join_all(processes) == [0, 0]
    assert (six_images / "run" / "last.pth").exists() and not other.exists()


def test_shares_are_those_of_the_batch(six_images: Path) -> None:
    dataset = CocoDataset(*find_split(six_images, "train"))

    def ids(**more: int) -> list[int | str]:
        batches = iter(training_loader(dataset, batch=12, seed=3, start_step=2, **more))
        return [number for _ in range(more.get("parts", 1)) for number in next(batches).image_ids]

    whole = ids()
    for world, parts in ((1, 3), (2, 1), (2, 3), (3, 2), (12, 1)):
        shares = [ids(rank=rank, world=world, parts=parts) for rank in range(world)]
        assert [number for share in shares for number in share] == whole


def test_evaluation_by_three_gives_the_numbers_of_one(
    six_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seven images of different sizes, padded together by two as in one process."""
    weights = six_images / "decided.pth"
    save_checkpoint(weights, decided_model())
    arguments = ["eval", "--data", str(six_images), "--weights", str(weights), "--device", "cpu"]
    arguments += ["--batch", "2", "--output"]
    assert main([*arguments, str(six_images / "one.json")]) == 0
    expected = capsys.readouterr().out
    printed = run_together([*arguments, str(six_images / "three.json")], six_images, 3)
    results = json.loads((six_images / "one.json").read_text())
    assert len({result["image_id"] for result in results}) == 7
    assert json.loads((six_images / "three.json").read_text()) == results
    own_lines = printed[0][printed[0].rindex("7 images, ") :].replace("three.json", "one.json")
    assert own_lines == expected[expected.rindex("7 images, ") :]
    assert printed[1] == printed[2] == ""


def test_evaluation_in_training_is_that_of_what_is_saved(six_images: Path) -> None:
    """Batch norms have other statistics in each process, and only those of the first are saved.

    The truth is what that model finds, so that AP is high, and another model's lower."""
    weights = six_images / "decided.pth"
    save_checkpoint(weights, decided_model(norm="bn"))
    more = ["--weights", str(weights), "--norm", "bn", "--size", "40", "--steps", "1"]
    run_together(_train(six_images, "before", *more), six_images, 2)
    model = load_model(six_images / "before" / "last.pth")
    val = six_images / "annotations" / "instances_val.json"

    def found() -> tuple[dict[str, float], list[dict[str, Any]]]:
        dataset = CocoDataset(*find_split(six_images, "val"), model.config.preprocessing)
        return evaluate(model, dataset, batch=6)

    best = sorted(found()[1], key=lambda result: -result["score"])[:40]
    truth = [annotation(r["image_id"], r["category_id"], r["bbox"]) for r in best]
    val.write_text(json.dumps({**json.loads(val.read_text()), "annotations": truth}))
    run_together(_train(six_images, "several", *more, "--eval-every", "1"), six_images, 2)
    expected, _ = found()
    _, evaluated = _curve(six_images / "several")
    assert {name: evaluated[name] for name in expected} == expected and expected["AP"] > 0.5


def _wait_for_step(output: Path, step: int, processes: list[BaseProcess]) -> None:
    path = output / "metrics.jsonl"
    while all(process.is_alive() for process in processes):
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        if any(json.loads(line)["step"] >= step for line in lines if line.endswith("\n")):
            return
        time.sleep(0.01)


# a rate at which rounding does not grow from step to step
LONG = ["--steps", "60", "--checkpoint-every", "1", "--lr", "0.0003"]


def test_resumed_by_other_numbers_of_processes(six_images: Path) -> None:
    """After a signal to one of two, and a kill of one of three; by one, in parts."""
    assert main(_train(six_images, "whole", *LONG)) == 0
    resume, output = [], six_images / "run"
    for step, world, number, last in ((4, 2, signal.SIGTERM, 1), (9, 3, signal.SIGKILL, 2)):
        processes = start_together(_train(six_images, "run", *LONG, *resume), six_images, world)
        _wait_for_step(output, step, processes)
        os.kill(processes[last].pid or 0, number)
        statuses = join_all(processes)
        logs = [(six_images / f"log{rank}").read_text() for rank in range(world)]
        reached = load_checkpoint(output / "last.pth")["step"]
        assert step - 1 <= reached < 60, logs  # the record of a step is written before it is saved
        if number == signal.SIGTERM:
            assert statuses == [128 + number] * world, logs
            assert logs[1] == "fcos: process 1: interrupted by SIGTERM\n"
        else:
            assert statuses == [2, 2, -number], logs
            word = "process 2 ended without a word, as one that is killed"
            assert logs[0].endswith(f"fcos: process 0: error: {word}\n")
            assert logs[1].endswith(f"fcos: process 1: error: {word}\n")
        assert f"last.pth holds step {reached}: --resume goes on from there" in logs[0]
        resume = ["--resume"]
    assert main(_train(six_images, "run", *LONG, "--resume", "--accumulate", "2")) == 0
    _assert_same_curve(output, six_images / "whole", _ROUNDING)


def test_the_first_process_is_killed(six_images: Path) -> None:
    """It also holds the store by which the others know each other."""
    processes = start_together(_train(six_images, "run", *LONG), six_images, 2)
    _wait_for_step(six_images / "run", 5, processes)
    processes[0].kill()
    assert join_all(processes) == [-signal.SIGKILL, 2]
    line = (six_images / "log1").read_text().splitlines()[-1]
    assert line == "fcos: process 1: error: process 0 ended, or the connection to it was lost"
    assert load_checkpoint(six_images / "run" / "last.pth")["step"] >= 4


def test_an_error_of_the_data_in_one_process(six_images: Path) -> None:
    dataset = CocoDataset(*find_split(six_images, "train"))
    batches = iter(training_loader(dataset, batch=3, seed=0, rank=2, world=3))
    number = [next(batches).image_ids[0] for _ in range(2)][1]
    (six_images / "train" / f"{number}.png").write_bytes(b"broken")
    arguments = _train(six_images, "run", "--batch", "3")
    assert join_all(start_together(arguments, six_images, 3)) == [2, 2, 2]
    logs = [(six_images / f"log{rank}").read_text() for rank in range(3)]
    assert logs[2].startswith("fcos: process 2: error: cannot read the image ")
    assert logs[1] == "fcos: process 1: error: process 2 ended with an error\n"
    assert "last.pth holds step 1: --resume goes on from there" in logs[0]


def _run_out_of_memory(*arguments: Any) -> None:
    """`command`, whose last process needs too much in the third step, others being in it."""
    losses, calls = FCOS.losses, []

    def greedy(*inputs: Any) -> Any:
        calls.append(1)
        if len(calls) == 3 and os.environ["RANK"] == "1":
            torch.empty(1 << 60, dtype=torch.uint8)
        return losses(*inputs)

    FCOS.losses = greedy  # type: ignore[method-assign]
    command(*arguments)


def test_out_of_memory_in_one_process(six_images: Path) -> None:
    """The other waits for it within a step, and then saves the step before."""
    arguments = _train(six_images, "run", "--norm", "bn", "--checkpoint-every", "99")
    processes = start_together(arguments, six_images, 2, function=_run_out_of_memory)
    assert join_all(processes) == [2, 2]
    logs = [(six_images / f"log{rank}").read_text() for rank in range(2)]
    assert logs[1].startswith("fcos: process 1: error: out of memory")
    assert "error: process 1 ended: " in logs[0] and "last.pth holds step 2" in logs[0]
    assert load_checkpoint(six_images / "run" / "last.pth")["step"] == 2


def test_an_error_of_the_first_process_alone(six_images: Path) -> None:
    """It alone writes: the others learn that the folder cannot be had, and end."""
    (six_images / "run").write_text("a file")
    statuses = join_all(start_together(_train(six_images, "run"), six_images, 2))
    assert statuses == [2, 2]
    first, second = ((six_images / f"log{rank}").read_text() for rank in range(2))
    assert "File exists" in first.splitlines()[-1]
    assert second.startswith("fcos: process 1: error: process 0 ended: ")
    assert "File exists" in second and second.count("\n") == 1


def _fail_as_torch(_group: object) -> None:
    """Like torch's functions, this one holds a group in its frame."""
    raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer")


def _lose_the_other(rank: int, port: int, log: Path) -> None:
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
    with pytest.raises(TrainingError) as raised, joined(Launch(rank, 2), torch.device("cpu")) as p:
        if rank == 0:
            _fail_as_torch(p._control)
        p.check()
    log.write_text(str(raised.value))


def test_who_waits_for_one_that_leaves_can_say_so(tmp_path: Path) -> None:
    """Else it would itself be taken for the one that was killed."""
    logs = [tmp_path / "0", tmp_path / "1"]
    port = free_port()
    processes = [start_function(_lose_the_other, rank, port, logs[rank]) for rank in range(2)]
    assert join_all(processes) == [0, 0]
    for log in logs:
        assert log.read_text() == "the connection between the processes was lost"


def test_torchrun(six_images: Path) -> None:
    assert main(_train(six_images, "one")) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node", "2", "-m", "fcos", *_train(six_images, "several")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "3 steps of 6 images on cpu in 2 processes" in done.stdout
    assert done.stdout.count("wrote ") == 1
    _assert_same_curve(six_images / "several", six_images / "one", _ROUNDING)
