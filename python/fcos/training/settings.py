"""The recipe of a training run."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import torch
from torch import nn

from ..errors import UserError, brief
from .schedule import ScheduleName

_CHOICES = {
    "optimizer": ("sgd", "adamw"),
    "schedule": ("cosine", "step"),
    "amp": ("off", "bf16"),
}


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes:
        steps: optimizer steps in all.
        batch: images a step, of all processes and parts together.
        accumulate: parts of a step that are computed one after the other, to take less memory.
        lr: base learning rate; 0.01 goes with 16 images a step.
        optimizer: "sgd" with momentum, or "adamw".
        momentum, weight_decay: biases and norm layers do not decay.
        schedule, warmup: see `learning_rate_factor`; warmup in steps.
        clip: largest norm of the gradient of all weights; 0: no clipping.
        ema: decay of the averaged weights; 0: none.
        amp: "bf16" runs the network under autocast; losses stay float32.
        activation_checkpointing: of the backbone; see `ResNet`.
        seed: of the order of the images and of the flips.
        workers: processes that load images; 0: none.
        flip: probability of a horizontal flip.
        log_every, checkpoint_every: in steps.
    """

    steps: int
    batch: int = 16
    accumulate: int = 1
    lr: float = 0.01
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: ScheduleName = "cosine"
    warmup: int = 500
    clip: float = 10.0
    ema: float = 0.0
    amp: Literal["off", "bf16"] = "off"
    activation_checkpointing: bool = False
    seed: int = 0
    workers: int = 0
    flip: float = 0.5
    log_every: int = 10
    checkpoint_every: int = 1000

    def __post_init__(self) -> None:
        counts = ("steps", "batch", "accumulate", "log_every", "checkpoint_every")
        whole = (*counts, "warmup", "seed", "workers")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in whole:
                self._check(field.name, "a whole number", isinstance(value, int))
            elif field.name == "activation_checkpointing":
                self._check(field.name, "True or False", isinstance(value, bool))
            elif field.name in _CHOICES:
                known = _CHOICES[field.name]
                if value not in known:
                    raise UserError(f"{field.name} must be one of {known}, got {value!r}")
            else:
                self._check(field.name, "a number", isinstance(value, int | float))
        for name in (*counts, "lr"):
            self._check(name, "positive", getattr(self, name) > 0)
        for name in ("weight_decay", "warmup", "clip", "workers", "seed"):
            self._check(name, "at least 0", getattr(self, name) >= 0)
        for name in ("momentum", "ema"):
            self._check(name, "at least 0 and less than 1", 0 <= getattr(self, name) < 1)
        self._check("flip", "a probability, 0 to 1", 0 <= self.flip <= 1)

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


def make_optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """SGD or AdamW; weight decay on the weights of convolutions only."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    return torch.optim.AdamW(groups, lr=settings.lr)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load what the optimizer remembers; rates and decays stay those of the settings.

    Raises: whatever torch does on a state that is none, ValueError where it is of other weights.
    """
    settings = [
        {k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(state)
    for group, values in zip(optimizer.param_groups, settings, strict=True):
        group.update(values)
    for weight, remembered in optimizer.state.items():
        for name, value in remembered.items():
            if value is not None and value.ndim and value.shape != weight.shape:
                raise ValueError(
                    f"{name} must be {list(weight.shape)} as its weight, got {list(value.shape)}"
                )
