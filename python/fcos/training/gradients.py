"""Losses and gradients of a step, whose images come in parts and are shared among processes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..data import Batch
from ..distributed.processes import Processes
from ..models import FCOS, LOSS_NAMES
from .settings import TrainingSettings

_FEWEST_CHANNELS_LAST = 16


def memory_format(model: FCOS) -> torch.memory_format:
    """How the maps of a training lie in memory.

    Channels last: a step took 4 to 11 % less time so, on two CPU cores with thin and full
    ResNet-18. With a thinner stem the oneDNN of torch 2.13 ended such a process on a CPU.
    """
    if model.config.backbone_width < _FEWEST_CHANNELS_LAST:
        return torch.contiguous_format
    return torch.channels_last


class StepGradients:
    """Computes the gradients of all images of a step.

    Args:
        model: on its device already.
        settings: `amp`, `accumulate` and `clip`.
        processes: among which a step's images are shared.
    """

    def __init__(self, model: FCOS, settings: TrainingSettings, processes: Processes) -> None:
        self._model, self._settings, self._processes = model, settings, processes
        self._network = processes.averaging(model)
        self._device = next(model.parameters()).device

    def __call__(self, parts: Sequence[Batch]) -> Tensor:
        """Losses and norm of the gradient [4] of this process's parts and those of the others; the
        gradients, clipped, are then in the weights.

        An error leaves no gradient there, and the statistics of the norms as they were.
        """
        buffers = [buffer.clone() for buffer in self._model.buffers()]
        self._forget()
        try:
            return self._compute(parts)
        except Exception:
            for buffer, before in zip(self._model.buffers(), buffers, strict=True):
                buffer.copy_(before)
            self._forget()
            raise

    def _forget(self) -> None:
        for weight in self._model.parameters():
            weight.grad = None

    def _compute(self, parts: Sequence[Batch]) -> Tensor:
        normalizers = None
        if len(parts) > 1:
            sizes = [part.images.tensor.shape[2:] for part in parts]
            truths = [part.truth.to(self._device) for part in parts]
            normalizers = self._model.normalizers_of_parts(sizes, truths)
        values = torch.zeros(len(LOSS_NAMES), device=self._device)
        for part in parts[:-1]:
            with self._without_averaging():
                values += self._backward(part, len(parts), normalizers)
        values += self._backward(parts[-1], len(parts), normalizers)
        values = self._processes.mean(values)
        norm = nn.utils.clip_grad_norm_(self._model.parameters(), self._settings.clip or math.inf)
        return torch.cat((values, norm.detach().view(1)))

    def _backward(self, part: Batch, count: int, normalizers: Tensor | None) -> Tensor:
        """The losses [3] of a part, whose gradients are added to those in the weights."""
        images = part.images.to(self._device)
        tensor = images.tensor.contiguous(memory_format=memory_format(self._model))
        images = images._replace(tensor=tensor)
        with torch.autocast(
            self._device.type, torch.bfloat16, enabled=self._settings.amp == "bf16"
        ):
            losses = self._network(images, part.truth.to(self._device), normalizers)
        values = torch.stack([losses[name].float() for name in LOSS_NAMES])
        if normalizers is None:  # each part's losses are means of their own
            values = values / count
        values.sum().backward()
        return values.detach()

    def _without_averaging(self) -> contextlib.AbstractContextManager[None]:
        """The gradients of a step are averaged once, with its last part."""
        if isinstance(self._network, DistributedDataParallel):
            return self._network.no_sync()
        return contextlib.nullcontext()
