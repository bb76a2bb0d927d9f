"""The training loop."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from functools import cached_property
from typing import Any

from torch import Tensor

from ..data import Batch, DetectionDataset
from ..distributed.processes import Processes, is_lost_connection
from ..errors import UserError
from ..interrupts import Interrupted, StopSignals
from ..models import FCOS
from ..models.batch_size import check_batch, check_norms
from .batches import batches_from
from .first_batch import write_first_batch
from .folder import RunFolder
from .gradients import StepGradients, memory_format
from .metrics import append_metrics
from .progress import progress_bar
from .records import Record, Window
from .settings import TrainingSettings
from .state import TrainingState


class Trainer:
    """Trains a model; `run` goes on from wherever `step` stands.

    last.pth is written at least once an epoch, and when a signal, an error of the data or one in
    the middle of a step, such as out of memory, stops the run. A run that resumes from it goes on
    bit for bit as if nothing had stopped it.

    Args:
        model: on its device already. Its config takes over the preprocessing of the data set.
        dataset: training split.
        settings: see `TrainingSettings`.
        output: folder for last.pth, metrics.jsonl and first_batch.png, made if need be.
        notes: kept in the checkpoint for whoever resumes.
        processes: that train the model together, a step's images shared equally among them: each
            makes a Trainer of the same arguments, and the first alone writes. None: this one.

    Attributes:
        folder: `output`, and what lies in it.
        state: the model with all that changes while it trains.
        signals: noted while `run` works; see `StopSignals`.

    Raises:
        UserError: model and data do not fit, there is nothing to train on, the images of a step
            have no equal shares, or the arguments are not the same in all processes.
    """

    def __init__(
        self,
        model: FCOS,
        dataset: DetectionDataset,
        settings: TrainingSettings,
        output: str | os.PathLike[str],
        notes: Mapping[str, Any] | None = None,
        processes: Processes | None = None,
    ) -> None:
        if model.config.num_classes != len(dataset.category_ids):
            raise UserError(
                f"the model has {model.config.num_classes} classes, "
                f"the data {len(dataset.category_ids)}"
            )
        if not dataset.contents.boxes:
            raise UserError(f"nothing to train on: {dataset.contents}")
        self.dataset, self.settings = dataset, settings
        self.processes = processes or Processes()
        settings.check_shares(self.processes.world)
        model.config = dataclasses.replace(model.config, preprocessing=dataset.preprocessing)
        self.folder = RunFolder(output)
        self.device = next(model.parameters()).device
        check_norms(model.config, self.device, self.processes.world)
        model.to(memory_format=memory_format(model))  # type: ignore[call-overload]
        model.backbone.body.activation_checkpointing = settings.activation_checkpointing
        self.state = TrainingState(model, settings)
        self.signals = StopSignals()
        self._notes = dict(notes or {})
        self._check_alike()

    @property
    def model(self) -> FCOS:
        return self.state.model

    @property
    def final_model(self) -> FCOS:
        """See `TrainingState.final_model`."""
        return self.state.final_model

    @property
    def step(self) -> int:
        return self.state.step

    @property
    def saved_step(self) -> int:
        return self.state.saved_step

    @property
    def epoch(self) -> float:
        """How often the data set has been seen."""
        return round(self.step * self.settings.batch / len(self.dataset), 3)

    @property
    def at_record(self) -> bool:
        """Whether the step that was reached is one that ends a record."""
        return self.step > 0 and not self.state.window.values

    def save(self) -> None:
        """Write last.pth, unless it holds this step already. Errors: `TrainingState.save`"""
        self.state.save(self.folder.checkpoint if self.processes.first else None, self._notes)

    def resume(self, content: Mapping[str, Any]) -> None:
        """Go on from last.pth, whose content `load_checkpoint` has read to resume.

        The learning rate and the order of the images follow from the step, so with the same
        settings the run goes on as if it had not been interrupted. Errors: `TrainingState.load`
        """
        self.state.load(self.folder.checkpoint, content)

    def run(self, *, progress: bool = True) -> Generator[Record, None, None]:
        """Train up to settings.steps, yielding a record every log_every steps.

        Raises:
            TrainingError: a loss is not finite. last.pth then still is the last sound state.
            Interrupted: SIGINT or SIGTERM. last.pth holds the step that was reached.
            UserError, OSError: of the data; likewise. All processes then stop at the same step.
        """
        self._begin_together()
        opened = self.folder.opened(self.step) if self.processes.first else nullcontext()
        shown = progress and self.processes.first
        with (
            opened,
            self.signals,
            progress_bar(self.step, self.settings.steps, shown=shown) as bar,
            closing(self._batches()) as batches,
        ):
            while True:
                # before the first step, too: its record may have failed in the run that was resumed
                if self._record_due():
                    # one that failed in the step leaves GPUs waiting, where reading would hang
                    self._stop_together()
                    record = self._close_window()
                    bar.set_postfix_str(record.summary())
                    yield record
                if self.step >= self.settings.steps:
                    break
                self.model.train()  # the caller may have evaluated it
                begin = time.perf_counter()
                parts = self._next(batches)
                loaded = time.perf_counter()
                if self.step == 0 and self.processes.first:
                    write_first_batch(self.folder.first_batch, parts[0], self.dataset)
                self.state.window.add(self.train_step(parts), loaded - begin)
                bar.update()

    def _check_alike(self) -> None:
        """UserError where other processes have other arguments, which would go unnoticed, or end in
        tensors that do not fit."""
        if self.processes.world > 1:
            settings = {**dataclasses.asdict(self.settings), "workers": 0}  # which may differ
            values = {**self._notes, **self.model.config.to_dict(), **settings}
            self.processes.check_alike({**values, **self.dataset.summary()})

    def _begin_together(self) -> None:
        """The processes have the same step, weights and averages."""
        self.processes.check_alike({"step": self.step})
        self.processes.share(self.model)
        if self.state.ema is not None:
            self.processes.share(self.state.ema.module)

    def _batches(self) -> Generator[Batch, None, None]:
        launch = self.processes.launch
        return batches_from(self.step, self.dataset, self.settings, launch, self.device)

    def _close_window(self) -> Record:
        """Write the record of the steps since the last one, and last.pth where it is due."""
        rate = self.settings.learning_rate(self.step - 1)
        record = self.state.window.close(self.step, self.epoch, rate)
        try:
            self.write_metrics(record.to_dict())
        except OSError:
            self.save()  # with the window: the run that resumes writes the line
            raise
        self.state.window = Window()
        if self._save_due():
            self.save()
        return record

    def write_metrics(self, values: dict[str, float]) -> None:
        """Append a line to metrics.jsonl."""
        if self.processes.first:
            append_metrics(self.folder.metrics, values)

    def _next(self, batches: Iterator[Batch]) -> list[Batch]:
        """The parts of the next step. Where one is missing, or a signal came, be it in another
        process, all stop here: the first saves, and each raises the reason."""
        parts: list[Batch] = []
        reason: BaseException | None = None
        try:
            self.signals.check()
            parts = [next(batches) for _ in range(self.settings.accumulate)]
            for part in parts:
                check_batch(self.model.config, part.images.tensor)
        except (Exception, Interrupted) as error:
            reason = error
        self._stop_together(reason)
        return parts

    def _stop_together(self, reason: BaseException | None = None) -> None:
        """Save and raise the reason, where this process or another one has to stop."""
        try:
            self.processes.check(reason)
        except (Exception, Interrupted) as error:
            self._save_after(error)
            self.signals.check()  # it may have reached a worker process and so caused the error
            raise

    def _record_due(self) -> bool:
        begun = bool(self.state.window.values)
        return begun and (self._save_due() or self._due(self.settings.log_every))

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.settings.steps

    def _save_due(self) -> bool:
        images = self.step * self.settings.batch
        epoch_ends = images % len(self.dataset) < self.settings.batch
        return epoch_ends or self._due(self.settings.checkpoint_every)

    @cached_property
    def _gradients(self) -> StepGradients:
        return StepGradients(self.model, self.settings, self.processes)

    def train_step(self, parts: Sequence[Batch]) -> Tensor:
        """One optimizer step on the parts of this process and those of the others. Returns losses
        and norm of the gradient [4], on the device.

        An error before the weights change, such as out of memory, loses nothing: the steps before
        are saved.
        """
        try:
            values = self._gradients(parts)
        except Exception as error:
            self._save_after(error)
            raise
        self.state.advance()
        return values

    def _save_after(self, error: BaseException) -> None:
        """Save, unless the GPU still waits for the process that was lost."""
        if self.device.type == "cpu" or not is_lost_connection(error):
            self.save()
