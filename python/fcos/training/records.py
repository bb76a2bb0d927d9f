"""What a training run reports about itself."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import torch
from torch import Tensor

from ..models import LOSS_NAMES

_VALUES = (*LOSS_NAMES, "gradient norm")


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to try."""


class Record(NamedTuple):
    """One line of the metrics file: means over the steps since the line before."""

    step: int
    epoch: float
    lr: float
    loss: float
    losses: dict[str, float]
    gradient_norm: float
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


class Window:
    """Losses and times of the steps since the last record; the losses stay on the device."""

    def __init__(self) -> None:
        self.values: list[Tensor] = []
        self.data_seconds = 0.0
        self.begin = time.perf_counter()

    def add(self, values: Tensor, data_seconds: float) -> None:
        """Take in losses and gradient norm [4] of a step and how long it waited for its images."""
        self.values.append(values)
        self.data_seconds += data_seconds

    def close(self, step: int, epoch: float, lr: float) -> Record:
        """The record of the window, which ends with `step`. Reads the losses from the device.

        Raises:
            TrainingError: a loss or the gradient is not finite; the message names the step.
        """
        values = torch.stack(self.values).cpu()
        count = len(values)
        for number, row in enumerate(values.tolist(), start=step - count + 1):
            if not all(math.isfinite(value) for value in row):
                named = ", ".join(f"{n} {v:.4g}" for n, v in zip(_VALUES, row, strict=True))
                raise TrainingError(
                    f"loss or gradient is not finite at step {number} ({named}): "
                    "try a lower lr, a longer warmup or a smaller clip"
                )
        *means, gradient_norm = values.double().mean(0).tolist()
        return Record(
            step=step,
            epoch=epoch,
            lr=lr,
            loss=sum(means),
            losses=dict(zip(LOSS_NAMES, means, strict=True)),
            gradient_norm=gradient_norm,
            seconds_per_step=(time.perf_counter() - self.begin) / count,
            data_seconds_per_step=self.data_seconds / count,
        )
