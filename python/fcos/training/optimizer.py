"""The optimizer of a training: which weights decay, and which learn faster."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..models.head import Scale
from .settings import TrainingSettings

# what decides which weights share a group: a run that resumes must have the same
GROUPING = (
    "norm_decay_factor",
    "bias_decay_factor",
    "scale_decay_factor",
    "bias_lr_factor",
    "norm_biases",
)
_NORMS = (nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


def make_optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """SGD or AdamW. Weights of convolutions decay by `weight_decay`; norm layers, biases and the
    factors of the levels by it times their factor of the settings, and biases learn at `lr` times
    `bias_lr_factor`. A group has `lr_factor` beside what torch keeps in it.

    The published programs differ in just that: fcos_core takes the biases of norm layers for
    biases, mmdetection, detectron2 and AdelaiDet for a part of the norm; torchvision's reference
    lets everything decay.
    """
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for owner, name, weight in _trained(model):
        factors = _factors(owner, name, settings)
        lr_factor, decay_factor = factors
        group = {
            "params": [],
            "lr": settings.lr * lr_factor,
            "lr_factor": lr_factor,
            "weight_decay": settings.weight_decay * decay_factor,
        }
        groups.setdefault(factors, group)["params"].append(weight)
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups.values(), lr=settings.lr, momentum=settings.momentum)
    return torch.optim.AdamW(groups.values(), lr=settings.lr)


def _trained(model: nn.Module) -> list[tuple[nn.Module, str, nn.Parameter]]:
    """Each parameter that is trained, once, with the module it belongs to and its name there."""
    return [
        (module, name, weight)
        for module in model.modules()
        for name, weight in module.named_parameters(recurse=False)
        if weight.requires_grad
    ]


def _factors(owner: nn.Module, name: str, settings: TrainingSettings) -> tuple[float, float]:
    """Of the learning rate and of the weight decay of a parameter."""
    if isinstance(owner, Scale):
        return 1.0, settings.scale_decay_factor
    as_norm = isinstance(owner, _NORMS)
    if name == "bias" and not (as_norm and settings.norm_biases == "as_norms"):
        return settings.bias_lr_factor, settings.bias_decay_factor
    return 1.0, settings.norm_decay_factor if as_norm else 1.0


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
