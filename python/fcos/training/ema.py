"""Exponential moving average of the weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import brief
from ..models import FCOS
from ..weights import load_weights


class ModelEMA:
    """A running average of a model's parameters; its buffers are copied.

    Args:
        model: the model that trains.
        decay: of the average. Early on the smaller (1 + t) / (10 + t) is used, so that the random
            initial weights are soon forgotten.
    """

    def __init__(self, model: FCOS, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and less than 1, got {decay}")
        self.decay = decay
        self.updates = 0
        self.module = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: FCOS) -> None:
        """Take in the model's weights after an optimizer step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averages: list[Tensor] = list(self.module.parameters())
        torch._foreach_lerp_(averages, list(model.parameters()), 1 - decay)
        for average, current in zip(self.module.buffers(), model.buffers(), strict=True):
            average.copy_(current)

    def state_dict(self) -> dict[str, object]:
        return {"model": self.module.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError, or what a mapping does, where `state` is of another model or none."""
        if not isinstance(updates := state["updates"], int) or updates < 0:
            raise ValueError(f"updates must be a count, got {brief(updates)}")
        load_weights(self.module, state["model"])
        self.updates = updates
