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
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..data import Batch, CocoDataset, training_loader
from ..models import FCOS, LOSS_NAMES
from .checkpoint import InputSize, load_checkpoint, save_checkpoint
from .ema import ModelEMA
from .records import Record, Window
from .schedule import learning_rate_factor
from .settings import TrainingSettings, make_optimizer

CHECKPOINT_NAME = "last.pth"
METRICS_NAME = "metrics.jsonl"
_LOG_SECONDS = 15.0


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
        # a step took 4 to 11 % less time so, on two CPU cores with thin and full ResNet-18
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(model, settings)
        self.ema = ModelEMA(model, settings.ema) if settings.ema else None
        self.step = 0

    @property
    def final_model(self) -> FCOS:
        """The averaged model where there is one, else the model itself."""
        return self.model if self.ema is None else self.ema.module

    @property
    def epoch(self) -> float:
        """How often the data set has been seen."""
        return round(self.step * self.settings.batch / len(self.dataset), 3)

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
        if self.step == 0:
            (self.output / METRICS_NAME).unlink(missing_ok=True)  # of an earlier run
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
        window = Window()
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
                window.add(self.train_step(batch), loaded - begin)
                bar.update()
                save = self._due(settings.checkpoint_every)
                if not (save or self._due(settings.log_every)):
                    continue
                record = window.close(self.step, self.epoch, self.optimizer.param_groups[0]["lr"])
                self.write_metrics(record.to_dict())
                bar.set_postfix_str(record.summary())
                if save:
                    self.save()
                yield record
                self.model.train()  # the caller may have evaluated it
                window = Window()

    def write_metrics(self, values: dict[str, float]) -> None:
        """Append a line to metrics.jsonl."""
        with open(self.output / METRICS_NAME, "a", encoding="utf-8") as file:
            print(json.dumps(values), file=file)

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.settings.steps

    def train_step(self, batch: Batch) -> Tensor:
        """One optimizer step. Returns losses and norm of the gradient [4], on the device."""
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
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip or math.inf)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(self.model)
        self.step += 1
        return torch.cat((values.detach(), norm.detach().view(1)))
