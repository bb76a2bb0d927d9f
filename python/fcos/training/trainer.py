"""The training loop."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..data import Batch, CocoDataset, training_loader
from ..data.annotations import brief
from ..errors import UserError
from ..files import check_writable
from ..interrupts import Interrupted, StopSignals
from ..models import FCOS, LOSS_NAMES
from ..structures import PAD_MULTIPLE
from .checkpoint import InputSize, load_checkpoint, save_checkpoint
from .ema import ModelEMA
from .metrics import append_metrics, cut_metrics
from .records import Record, Window
from .schedule import learning_rate_factor
from .settings import TrainingSettings, make_optimizer

CHECKPOINT_NAME = "last.pth"
METRICS_NAME = "metrics.jsonl"
_LOG_SECONDS = 15.0


class Trainer:
    """Trains a model; `run` goes on from wherever `step` stands.

    last.pth is written at least once an epoch, and when a signal or an error of the data stops the
    run. A run that resumes from it goes on bit for bit as if nothing had stopped it.

    Args:
        model: on its device already.
        dataset: training split.
        settings: see `TrainingSettings`.
        output: folder for last.pth and metrics.jsonl, made if need be.
        notes: kept in the checkpoint for whoever resumes.

    Attributes:
        signals: noted while `run` works; see `StopSignals`.

    Raises:
        UserError: model and data do not fit, or there is nothing to train on.
    """

    def __init__(
        self,
        model: FCOS,
        dataset: CocoDataset,
        settings: TrainingSettings,
        output: str | os.PathLike[str],
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        if model.config.num_classes != len(dataset.category_ids):
            raise UserError(
                f"the model has {model.config.num_classes} classes, "
                f"the data {len(dataset.category_ids)}"
            )
        if not dataset.contents.boxes:
            raise UserError(f"nothing to train on: {dataset.contents}")
        self.model, self.dataset, self.settings = model, dataset, settings
        self.output = Path(output)
        self.device = next(model.parameters()).device
        # a step took 4 to 11 % less time so, on two CPU cores with thin and full ResNet-18
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(model, settings)
        self.ema = ModelEMA(model, settings.ema) if settings.ema else None
        self.step = self.saved_step = 0
        self.signals = StopSignals()
        self._notes = dict(notes or {})
        self._window = Window()

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

    @property
    def metrics_path(self) -> Path:
        return self.output / METRICS_NAME

    def save(self) -> None:
        """Write last.pth, unless it holds this step already.

        Raises:
            OSError: it cannot be written. The old one is then still there.
            TrainingError: a loss or gradient since the last record is not finite.
        """
        if self.saved_step == self.step:
            return
        window = self._window.check(self.step)
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
            data=self._notes,
            window=window,
            rng=rng,
        )
        self.saved_step = self.step

    def resume(self, path: str | os.PathLike[str]) -> None:
        """Take weights, optimizer, average, step and random state from a checkpoint.

        The learning rate and the order of the images follow from the step, so with the same
        settings the run goes on as if it had not been interrupted.

        Raises:
            UserError: the checkpoint is of another model or optimizer, or lacks the average asked
                for.
        """
        content = load_checkpoint(path, to_resume=True)
        ours = {**self.model.config.to_dict(), "optimizer": self.settings.optimizer}
        theirs = {**content["config"], "optimizer": content["settings"]["optimizer"]}
        for name, value in ours.items():
            if value != theirs.get(name):
                raise UserError(
                    f"{name} must be {brief(theirs.get(name))} to resume {path}, got {brief(value)}"
                )
        if self.ema is not None and content["ema"] is None:
            raise UserError(f"ema must be 0 to resume {path}, which holds no averaged weights")
        self.model.load_state_dict(content["model"])
        decays = [group["weight_decay"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(content["optimizer"])
        for group, decay in zip(self.optimizer.param_groups, decays, strict=True):
            group["weight_decay"] = decay  # the settings', which may be other than before
        if self.ema is not None:
            self.ema.load_state_dict(content["ema"])
        self.step = self.saved_step = content["step"]
        # not in the first checkpoints of this package, which all ended a window
        window = content.get("window")
        self._window = Window(None if window is None else window.to(self.device))
        torch.set_rng_state(content["rng"]["torch"])
        if self.device.type == "cuda" and "cuda" in content["rng"]:
            torch.cuda.set_rng_state(content["rng"]["cuda"], self.device)

    def run(self, *, progress: bool = True) -> Generator[Record, None, None]:
        """Train up to settings.steps, yielding a record every log_every steps.

        Raises:
            TrainingError: a loss is not finite. last.pth then still is the last sound state.
            Interrupted: SIGINT or SIGTERM. last.pth holds the step that was reached.
            UserError, OSError: of the data; likewise.
        """
        settings = self.settings
        self._prepare_output()
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
        bar = tqdm(
            total=settings.steps,
            initial=self.step,
            disable=not progress,
            unit="step",
            # a log file gets a line now and then, a terminal a moving bar
            mininterval=0.1 if sys.stderr.isatty() else _LOG_SECONDS,
        )
        with self.signals, bar:
            while self.step < settings.steps:
                begin = time.perf_counter()
                batch = self._next(batches)
                loaded = time.perf_counter()
                self._window.add(self.train_step(batch), loaded - begin)
                bar.update()
                save = self._due(settings.checkpoint_every) or self._epoch_ends()
                if not (save or self._due(settings.log_every)):
                    continue
                lr = self.optimizer.param_groups[0]["lr"]
                record = self._window.close(self.step, self.epoch, lr)
                self._window = Window()
                self.write_metrics(record.to_dict())
                bar.set_postfix_str(record.summary())
                if save:
                    self.save()
                yield record
                self.model.train()  # the caller may have evaluated it

    def write_metrics(self, values: dict[str, float]) -> None:
        """Append a line to metrics.jsonl."""
        append_metrics(self.metrics_path, values)

    def _prepare_output(self) -> None:
        """Clear away what a run left that began anew here, or was killed behind its last.pth."""
        check_writable(self.output)
        for unfinished in self.output.glob(f".{Path(CHECKPOINT_NAME).stem}.*"):
            unfinished.unlink()
        if self.step == 0:
            self.metrics_path.unlink(missing_ok=True)
        cut_metrics(self.metrics_path, self.step)

    def _next(self, batches: Iterator[Batch]) -> Batch:
        """The next batch; where there is none, or a signal came, saves and raises the reason."""
        try:
            self.signals.check()
            batch = next(batches)
            self._check_norm(batch)
        except (Exception, Interrupted):
            self.save()
            self.signals.check()  # it may have reached a worker process and so caused the error
            raise
        return batch

    def _check_norm(self, batch: Batch) -> None:
        count, _, height, width = batch.images.tensor.shape
        values = count * (height // PAD_MULTIPLE) * (width // PAD_MULTIPLE)
        if self.model.config.norm == "bn" and values == 1:
            raise UserError(
                "norm bn needs more than one value a channel, and one image of "
                f"{height} x {width} pixels has one at stride {PAD_MULTIPLE}: "
                "take --norm gn, a larger --batch or a larger --size"
            )

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.settings.steps

    def _epoch_ends(self) -> bool:
        images = self.step * self.settings.batch
        return images % len(self.dataset) < self.settings.batch

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
