"""`python -m benchmarks.overfit DIR --output FILE`: can a detector learn a few photos by heart?

A ResNet-18 from random weights trains on the part train of a data set and is evaluated on the very
same images, again and again. Where that fails, something is wrong in images, targets, losses,
network, post-processing or evaluation, whatever the tests of each say. It says nothing about other
images.

The clock is the processor time of the process, divided by its threads, evaluations included: what
the run would take on cores of its own. FILE is JSON; the curve is drawn beside it as PNG, both anew
at each evaluation. FILE's folder also gets the checkpoint's folder `run`.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import matplotlib
import torch
from fcos.data import CocoDataset, find_split
from fcos.detection.dataset import evaluate
from fcos.files import atomic_path
from fcos.models import FCOS, ModelConfig
from fcos.preprocessing import Preprocessing
from fcos.training import Trainer, TrainingSettings

from benchmarks import reports
from benchmarks.__main__ import machine

matplotlib.use("Agg")

from matplotlib import pyplot

PREPROCESSING = Preprocessing(size=320, max_size=533)
MODEL = {"backbone": "resnet18", "width": 128, "depth": 2}
SETTINGS = TrainingSettings(
    steps=3400,
    batch=4,
    lr=1e-3,
    optimizer="adamw",
    weight_decay=0.0,  # nothing is to generalise
    warmup=200,
    flip=0.0,
    log_every=20,
)


class Clock:
    """Minutes of processor time a thread, and of the wall."""

    def __init__(self) -> None:
        self._begin = time.process_time(), time.perf_counter()

    def minutes(self) -> float:
        return (time.process_time() - self._begin[0]) / torch.get_num_threads() / 60

    def wall_minutes(self) -> float:
        return (time.perf_counter() - self._begin[1]) / 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", metavar="DIR", help="a data set in COCO format")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON to write")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=5, metavar="MINUTES", help="evaluate")
    options = parser.parse_args()

    clock = Clock()
    torch.manual_seed(0)
    dataset = CocoDataset(*find_split(options.data, "train"), PREPROCESSING)
    names = {"class_names": dataset.class_names, "category_ids": dataset.category_ids}
    trainer = Trainer(
        FCOS(ModelConfig(**names, **MODEL)), dataset, SETTINGS, options.output.parent / "run"
    )
    report: dict[str, Any] = {
        "machine": machine({}),
        "data": str(dataset.contents),
        "model": {**MODEL, **PREPROCESSING._asdict()},
        "settings": dataclasses.asdict(SETTINGS),
        "rows": [],
    }
    for record in trainer.run():
        due = len(report["rows"]) + 1
        last = record.step == SETTINGS.steps or clock.minutes() >= options.minutes
        if clock.minutes() < due * options.every and not last:
            continue
        metrics, _ = evaluate(trainer.final_model, dataset, batch=SETTINGS.batch)
        row = {
            "minutes": round(clock.minutes(), 2),
            "wall_minutes": round(clock.wall_minutes(), 2),
            "step": record.step,
            "epoch": record.epoch,
            "loss": record.loss,
            **{f"loss_{name}": value for name, value in record.losses.items()},
            **metrics,
        }
        report["rows"].append(row)
        reports.write(options.output, report)
        draw(report["rows"], options.output.with_suffix(".png"))
        print(f"\n{row['minutes']:.1f} min, epoch {row['epoch']:.0f}: AP50 {row['AP50']:.3f}")
        if last:
            return


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """AP50, AP and the loss over the minutes of the clock."""
    minutes = [row["minutes"] for row in rows]
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for name in ("AP50", "AP"):
        axes.plot(minutes, [row[name] for row in rows], marker="o", label=name)
    axes.set(
        xlabel="minutes on 2 cores", ylabel="on the training photos", ylim=(0, 1), xlim=(0, None)
    )
    losses = axes.twinx()
    losses.plot(minutes, [row["loss"] for row in rows], color="grey", linestyle="--", label="loss")
    losses.set(ylabel="loss", ylim=(0, None))
    handles = [*axes.get_lines(), *losses.get_lines()]
    axes.legend(handles, [str(line.get_label()) for line in handles], loc="lower right")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
