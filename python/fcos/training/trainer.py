"""The training loop."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..data import Batch, CocoDataset, training_loader
from ..models import FCOS, LOSS_NAMES
from .checkpoint import InputSize, load_checkpoint, save_checkpoint
from .ema import ModelEMA
from .schedule import ScheduleName, learning_rate_factor

CHECKPOINT_NAME = "last.pth"
METRICS_NAME = "metrics.jsonl"
_LOG_SECONDS = 15.0


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to try."""


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes:
        steps: optimizer steps in all.
        batch: images a step.
        lr: base learning rate; 0.01 goes with 16 images a step.
        optimizer: "sgd" with momentum, or "adamw".
        momentum, weight_decay: biases and norm layers do not decay.
        schedule, warmup: see `learning_rate_factor`; warmup in steps.
        clip: largest norm of the gradient of all weights; 0: no clipping.
        ema: decay of the averaged weights; 0: none.
        amp: "bf16" runs the network under autocast; losses stay float32.
        seed: of the order of the images and of the flips.
        workers: processes that load images; 0: none.
        flip: probability of a horizontal flip.
        log_every, checkpoint_every: in steps.
    """

    steps: int
    batch: int = 16
    lr: float = 0.01
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: ScheduleName = "cosine"
    warmup: int = 500
    clip: float = 10.0
    ema: float = 0.0
    amp: Literal["off", "bf16"] = "off"
    seed: int = 0
    workers: int = 0
    flip: float = 0.5
    log_every: int = 10
    checkpoint_every: int = 1000

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "lr", "log_every", "checkpoint_every"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)}")
        for name in ("momentum", "weight_decay", "warmup", "clip", "ema", "workers", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)}")


def make_optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """SGD or AdamW; weight decay on the weights of convolutions only."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.lr)
    raise ValueError(f"optimizer: expected 'sgd' or 'adamw', got {settings.optimizer!r}")


class Record(NamedTuple):
    """One line of the metrics file: means over the steps since the line before."""

    step: int
    epoch: float
    lr: float
    loss: float
    losses: dict[str, float]
    seconds_per_step: float
    data_seconds_per_step: float

    def summary(self) -> str:
        """Total loss and its parts (classification + box + centerness), for the progress bar."""
        parts = "+".join(f"{value:.2f}" for value in self.losses.values())
        return f"epoch {self.epoch:.1f} loss {self.loss:.3f} = {parts}"

    def to_dict(self) -> dict[str, float]:
        fields = self._asdict()
        losses = fields.pop("losses")
        return {**fields, **{f"loss_{name}": value for name, value in losses.items()}}


class Trainer:
    """Trains a model; `run` goes on from wherever `step` stands.

    Args:
        model: on its device already.
        dataset: training split.
        settings: see `TrainingSettings`.
        output: folder for last.pth and metrics.jsonl, made if need be.
    """

    def __init__(
        self,
        model: FCOS,
        dataset: CocoDataset,
        settings: TrainingSettings,
        output: str | os.PathLike[str],
    ) -> None:
        if model.config.num_classes != len(dataset.category_ids):
            raise ValueError(
                f"the model has {model.config.num_classes} classes, "
                f"the data {len(dataset.category_ids)}"
            )
        self.model, self.dataset, self.settings = model, dataset, settings
        self.output = Path(output)
        self.device = next(model.parameters()).device
        # convolutions of small images on a CPU are up to twice as fast with channels last
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(model, settings)
        self.ema = ModelEMA(model, settings.ema) if settings.ema else None
        self.step = 0

    @property
    def final_model(self) -> FCOS:
        """The averaged model where there is one, else the model itself."""
        return self.model if self.ema is None else self.ema.module

    @property
    def checkpoint_path(self) -> Path:
        return self.output / CHECKPOINT_NAME

    def save(self) -> None:
        """Write last.pth."""
        rng: dict[str, Any] = {"torch": torch.get_rng_state()}
        if self.device.type == "cuda":
            rng["cuda"] = torch.cuda.get_rng_state(self.device)
        save_checkpoint(
            self.checkpoint_path,
            self.model,
            InputSize(self.dataset.size, self.dataset.max_size),
            ema=None if self.ema is None else self.ema.state_dict(),
            optimizer=self.optimizer.state_dict(),
            step=self.step,
            settings=dataclasses.asdict(self.settings),
            rng=rng,
        )

    def resume(self, path: str | os.PathLike[str]) -> None:
        """Take weights, optimizer, average, step and random state from a checkpoint.

        The learning rate and the order of the images follow from the step, so with the same
        settings the run goes on as if it had not been interrupted.

        Raises:
            ValueError: the checkpoint is of another model, or lacks the average asked for.
        """
        content = load_checkpoint(path)
        ours, theirs = self.model.config.to_dict(), content["config"]
        different = [name for name in ours if ours[name] != theirs.get(name)]
        if different:
            raise ValueError(f"{path}: of a model with another {', '.join(different)}")
        if self.ema is not None and content["ema"] is None:
            raise ValueError(f"{path}: holds no averaged weights to go on with; train without ema")
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        if self.ema is not None:
            self.ema.load_state_dict(content["ema"])
        self.step = content["step"]
        torch.set_rng_state(content["rng"]["torch"])
        if self.device.type == "cuda" and "cuda" in content["rng"]:
            torch.cuda.set_rng_state(content["rng"]["cuda"], self.device)

    def run(self, *, progress: bool = True) -> Iterator[Record]:
        """Train up to settings.steps, yielding a record every log_every steps.

        Raises:
            TrainingError: a loss is not finite. last.pth then still is the last sound state.
        """
        settings = self.settings
        self.output.mkdir(parents=True, exist_ok=True)
        loader = training_loader(
            self.dataset,
            batch=settings.batch,
            seed=settings.seed,
            workers=settings.workers,
            start_step=self.step,
            flip_probability=settings.flip,
            pin_memory=self.device.type == "cuda",
        )
        batches = iter(loader)
        self.model.train()
        window = _Window()
        bar = tqdm(
            total=settings.steps,
            initial=self.step,
            disable=not progress,
            unit="step",
            # a log file gets a line now and then, a terminal a moving bar
            mininterval=0.1 if sys.stderr.isatty() else _LOG_SECONDS,
        )
        with bar:
            while self.step < settings.steps:
                begin = time.perf_counter()
                batch: Batch = next(batches)
                loaded = time.perf_counter()
                losses = self.train_step(batch)
                window.add(losses, loaded - begin, time.perf_counter() - loaded)
                bar.update()
                save = self._due(settings.checkpoint_every)
                if not (save or self._due(settings.log_every)):
                    continue
                record = self._record(window)
                window = _Window()
                self.write_metrics(record.to_dict())
                bar.set_postfix_str(record.summary())
                if save:
                    self.save()
                yield record
                self.model.train()  # the caller may have evaluated it

    def write_metrics(self, values: dict[str, float]) -> None:
        """Append a line to metrics.jsonl."""
        with open(self.output / METRICS_NAME, "a", encoding="utf-8") as file:
            print(json.dumps(values), file=file)

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.settings.steps

    def train_step(self, batch: Batch) -> Tensor:
        """One optimizer step. Returns the losses [3], detached, on the device."""
        factor = learning_rate_factor(
            self.step,
            self.settings.steps,
            schedule=self.settings.schedule,
            warmup=self.settings.warmup,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * factor
        images = batch.images.to(self.device)
        images = images._replace(tensor=images.tensor.contiguous(memory_format=torch.channels_last))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.amp == "bf16"):
            losses = self.model(images, batch.truth.to(self.device))
        values = torch.stack([losses[name].float() for name in LOSS_NAMES])
        self.optimizer.zero_grad(set_to_none=True)
        values.sum().backward()
        if self.settings.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(self.model)
        self.step += 1
        return values.detach()

    def _record(self, window: _Window) -> Record:
        values = torch.stack(window.losses).cpu()  # the only read from the device
        for offset, row in enumerate(values.tolist()):
            if not all(math.isfinite(v) for v in row):
                step = self.step - len(values) + offset + 1
                named = ", ".join(f"{n} {v:.4g}" for n, v in zip(LOSS_NAMES, row, strict=True))
                raise TrainingError(
                    f"the loss is not finite at step {step} ({named}): "
                    "try a lower lr, a longer warmup or a smaller clip"
                )
        means = values.double().mean(0).tolist()
        return Record(
            step=self.step,
            epoch=round(self.step * self.settings.batch / len(self.dataset), 3),
            lr=self.optimizer.param_groups[0]["lr"],
            loss=sum(means),
            losses=dict(zip(LOSS_NAMES, means, strict=True)),
            seconds_per_step=(window.data_seconds + window.step_seconds) / len(values),
            data_seconds_per_step=window.data_seconds / len(values),
        )


class _Window:
    """Losses and times since the last record; the losses stay on the device."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.data_seconds = 0.0
        self.step_seconds = 0.0

    def add(self, losses: Tensor, data_seconds: float, step_seconds: float) -> None:
        self.losses.append(losses)
        self.data_seconds += data_seconds
        self.step_seconds += step_seconds
