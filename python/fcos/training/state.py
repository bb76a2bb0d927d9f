"""What changes while a model trains, and so what last.pth holds."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import torch

from ..models import FCOS
from ..weights import load_weights
from .checkpoint import check_same, reading, save_checkpoint
from .ema import ModelEMA
from .optimizer import load_optimizer, make_optimizer
from .records import Window
from .settings import TrainingSettings


class TrainingState:
    """A model with its optimizer and, if the settings ask for it, its average; at step 0.

    Args:
        model: on its device already.
        settings: see `TrainingSettings`.

    Attributes:
        model, optimizer, ema: of them `ema` may be None.
        step: optimizer steps that were taken.
        window: losses since the last record.
        saved_step: the step that was last saved or loaded.
    """

    def __init__(self, model: FCOS, settings: TrainingSettings) -> None:
        self.model, self._settings = model, settings
        self.optimizer = make_optimizer(model, settings)
        self.ema = ModelEMA(model, settings.ema) if settings.ema else None
        self.step = self.saved_step = 0
        self.window = Window()
        self._saved_window = 0  # steps since the last record in what was saved
        self._device = next(model.parameters()).device

    @property
    def final_model(self) -> FCOS:
        """The averaged model where there is one, else the model itself."""
        return self.model if self.ema is None else self.ema.module

    def advance(self) -> None:
        """Take the optimizer step of the gradients that are in the weights."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._settings.learning_rate(self.step) * group["lr_factor"]
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(self.model)
        self.step += 1

    def save(self, path: str | os.PathLike[str] | None, notes: Mapping[str, Any]) -> None:
        """Write a checkpoint with these notes, unless this state was saved already.

        path: None, where another process writes it: this one then only checks its losses.

        Raises:
            OSError: it cannot be written. The old one is then still there.
            TrainingError: a loss or gradient since the last record is not finite.
        """
        if (self.saved_step, self._saved_window) == (self.step, len(self.window.values)):
            return
        window = self.window.check(self.step)
        if path is not None:
            save_checkpoint(
                path,
                self.model,
                ema=None if self.ema is None else self.ema.state_dict(),
                optimizer=self.optimizer.state_dict(),
                step=self.step,
                settings=dataclasses.asdict(self._settings),
                data=dict(notes),
                window=window,
                rng=self._random_state(),
            )
        self.saved_step, self._saved_window = self.step, len(window)

    def load(self, path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
        """Take weights, optimizer, average, step and random state from a checkpoint.

        Args:
            path: of the checkpoint, for messages.
            content: as `load_checkpoint` reads it from there, to resume.

        Raises:
            UserError: it is of another model or optimizer, or lacks the average asked for.
        """
        check_same(path, content, self.model.config, self._settings)
        with reading(path, "model"):
            load_weights(self.model, content["model"])
        with reading(path, "optimizer"):
            load_optimizer(self.optimizer, content["optimizer"])
        if self.ema is not None:
            with reading(path, "ema"):
                self.ema.load_state_dict(content["ema"])
        # not in the first checkpoints of this package, which all ended a window
        window = content.get("window")
        self.window = Window(None if window is None else window.to(self._device))
        self.step = self.saved_step = content["step"]
        self._saved_window = len(self.window.values)
        torch.set_rng_state(content["rng"]["torch"])
        if self._device.type == "cuda" and "cuda" in content["rng"]:
            with reading(path, "rng"):
                torch.cuda.set_rng_state(content["rng"]["cuda"], self._device)

    def _random_state(self) -> dict[str, Any]:
        state = {"torch": torch.get_rng_state()}
        if self._device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self._device)
        return state
