"""What a training run reports about itself."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import TrainingError
from ..models import LOSS_NAMES

_VALUES = (*LOSS_NAMES, "gradient norm")


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
    """Losses and times of the steps since the last record; the losses stay on the device.

    values: losses and gradient norms [steps, 4] of the steps before a run was interrupted; a
    ValueError where they are of another shape.
    """

    def __init__(self, values: Tensor | None = None) -> None:
        if values is not None and (values.ndim != 2 or values.shape[1] != len(_VALUES)):
            raise ValueError(f"values must be [steps, {len(_VALUES)}], got {list(values.shape)}")
        self.values: list[Tensor] = [] if values is None else list(values)
        self.timed_steps = 0
        self.data_seconds = 0.0
        self.begin = time.perf_counter()

    def add(self, values: Tensor, data_seconds: float) -> None:
        """Take in losses and gradient norm [4] of a step and how long it waited for its images."""
        self.values.append(values)
        self.timed_steps += 1
        self.data_seconds += data_seconds

    def check(self, step: int) -> Tensor:
        """Losses and gradient norms [steps, 4] of the window, which ends with `step`, on the CPU.

        Raises:
            TrainingError: a loss or the gradient is not finite; the message names the step.
        """
        values = torch.stack(self.values).cpu() if self.values else torch.zeros(0, len(_VALUES))
        for number, row in enumerate(values.tolist(), start=step - len(values) + 1):
            if not all(math.isfinite(value) for value in row):
                raise TrainingError(_diagnosis(number, dict(zip(_VALUES, row, strict=True))))
        return values

    def close(self, step: int, epoch: float, lr: float) -> Record:
        """The record of the window, which ends with `step`. Errors: as `check`."""
        values = self.check(step)
        timed = max(1, self.timed_steps)  # 0: all of them were before the run was interrupted
        *means, gradient_norm = values.double().mean(0).tolist()
        return Record(
            step=step,
            epoch=epoch,
            lr=lr,
            loss=sum(means),
            losses=dict(zip(LOSS_NAMES, means, strict=True)),
            gradient_norm=gradient_norm,
            seconds_per_step=(time.perf_counter() - self.begin) / timed,
            data_seconds_per_step=self.data_seconds / timed,
        )


def _diagnosis(step: int, values: dict[str, float]) -> str:
    named = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    remedy = "try a lower lr, a longer warmup or a smaller clip"
    losses_are_finite = all(math.isfinite(values[name]) for name in LOSS_NAMES)
    if not losses_are_finite and math.isfinite(values["bbox_regression"]):
        remedy = f"look for labels that are not in [0, number of classes), or {remedy}"
    return f"loss or gradient is not finite at step {step} ({named}): {remedy}"
