"""How a training run learns. Imports no torch."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from ..data.scales import parse_scales
from ..errors import UserError, brief
from .schedule import ScheduleName, WarmupName, learning_rate_factor

_CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": ("sgd", "adamw"),
    "schedule": ("cosine", "step"),
    "warmup_kind": ("linear", "constant"),
    "norm_biases": ("as_norms", "as_biases"),
    "amp": ("off", "bf16"),
}
_COUNTS = ("steps", "batch", "accumulate", "log_every", "checkpoint_every")
_WHOLE = (*_COUNTS, "warmup", "seed", "workers")
_POSITIVE = (*_COUNTS, "lr", "bias_lr_factor")
_AT_LEAST_0 = (
    *("weight_decay", "norm_decay_factor", "bias_decay_factor", "scale_decay_factor"),
    *("warmup", "clip", "workers", "seed"),
)


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes:
        steps: optimizer steps in all.
        batch: images a step, of all processes and parts together.
        accumulate: parts of a step that are computed one after the other, to take less memory.
        lr: base learning rate; 0.01 goes with 16 images a step.
        optimizer: "sgd" with momentum, or "adamw".
        momentum: of SGD.
        weight_decay: of the weights of convolutions.
        norm_decay_factor, bias_decay_factor, scale_decay_factor: times `weight_decay` is that of
            norm layers, of biases, and of the learnable factor of each level; see `make_optimizer`.
        bias_lr_factor: times `lr` is the learning rate of biases.
        norm_biases: whether the biases of norm layers go "as_norms" or "as_biases".
        schedule, milestones, warmup, warmup_kind, warmup_factor: see `learning_rate_factor`;
            warmup in steps.
        clip: largest norm of the gradient of all weights; 0: no clipping.
        ema: decay of the averaged weights; 0: none.
        amp: "bf16" runs the network under autocast; losses stay float32.
        activation_checkpointing: of the backbone; see `ResNet`.
        seed: of the order of the images and of what is done to them.
        workers: processes that load images; 0: none.
        flip, colour_jitter: see `Augmentation`.
        scales: short sides to draw from, as `parse_scales` reads them.
        aspect_groups: wide images and tall ones do not share a batch; see `TrainingOrder`.
        log_every, checkpoint_every: in steps.
    """

    steps: int
    batch: int = 16
    accumulate: int = 1
    lr: float = 0.01
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    norm_decay_factor: float = 0.0
    bias_decay_factor: float = 0.0
    scale_decay_factor: float = 0.0
    bias_lr_factor: float = 1.0
    norm_biases: Literal["as_norms", "as_biases"] = "as_norms"
    schedule: ScheduleName = "cosine"
    milestones: tuple[float, ...] = (2 / 3, 8 / 9)
    warmup: int = 500
    warmup_kind: WarmupName = "linear"
    warmup_factor: float = 0.0
    clip: float = 10.0
    ema: float = 0.0
    amp: Literal["off", "bf16"] = "off"
    activation_checkpointing: bool = False
    seed: int = 0
    workers: int = 0
    flip: float = 0.5
    scales: str = "off"
    colour_jitter: float = 0.0
    aspect_groups: bool = False
    log_every: int = 10
    checkpoint_every: int = 1000

    def __post_init__(self) -> None:
        for field in dataclasses.fields(TrainingSettings):
            self._check_type(field.name, getattr(self, field.name))
        for name in _POSITIVE:
            self._check(name, "positive", getattr(self, name) > 0)
        for name in _AT_LEAST_0:
            self._check(name, "at least 0", getattr(self, name) >= 0)
        for name in ("momentum", "ema"):
            self._check(name, "at least 0 and less than 1", 0 <= getattr(self, name) < 1)
        self._check("flip", "a probability, 0 to 1", 0 <= self.flip <= 1)
        self._check("colour_jitter", "a strength, 0 to 1", 0 <= self.colour_jitter <= 1)
        least = "above 0 and at most 1" if self.warmup_kind == "constant" else "from 0 to 1"
        inside = 0 <= self.warmup_factor <= 1 and (self.warmup_factor or least == "from 0 to 1")
        self._check("warmup_factor", f"a number {least}", bool(inside))

    def _check_type(self, name: str, value: Any) -> None:
        if name == "milestones":
            rising = isinstance(value, tuple) and all(map(_is_positive, value))
            if not rising or list(value) != sorted(value):
                raise UserError(f"{name} must be positive numbers that rise, got {brief(value)}")
            if value and value[0] < 1 <= value[-1]:  # 1 would be the first step, not the last
                raise UserError(
                    f"{name} must be shares of the steps, below 1, or all steps, got {brief(value)}"
                )
        elif name == "scales":
            parse_scales(value)
        elif name in _CHOICES:
            if value not in _CHOICES[name]:
                raise UserError(f"{name} must be one of {_CHOICES[name]}, got {value!r}")
        elif name in _WHOLE:
            self._check(name, "a whole number", isinstance(value, int))
        elif name in ("activation_checkpointing", "aspect_groups"):
            self._check(name, "True or False", isinstance(value, bool))
        else:
            self._check(name, "a number", isinstance(value, int | float))

    def learning_rate(self, step: int) -> float:
        """Of the optimizer step that follows `step`."""
        return self.lr * learning_rate_factor(
            step,
            self.steps,
            schedule=self.schedule,
            warmup=self.warmup,
            warmup_kind=self.warmup_kind,
            warmup_factor=self.warmup_factor,
            milestones=self.milestones,
        )

    def check_shares(self, processes: int) -> None:
        """UserError where the parts of a step in all processes cannot hold as many images each."""
        parts = processes * self.accumulate
        if self.batch % parts:
            raise UserError(
                f"batch must be a multiple of {parts}, for {processes} processes and accumulate "
                f"{self.accumulate}, got {self.batch}"
            )

    def _check(self, name: str, expected: str, fulfilled: bool) -> None:
        value = getattr(self, name)
        if not fulfilled or not math.isfinite(value):
            raise UserError(f"{name} must be {expected}, got {brief(value)}")


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and 0 < value < math.inf
