"""Whether the batch norms that are trained can be, on a batch and in processes."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import UserError
from ..names import NUM_STAGES
from ..structures import PAD_MULTIPLE
from .config import ModelConfig
from .detector import STRIDES


def check_batch(config: ModelConfig, images: Tensor) -> None:
    """UserError where a map of the images [B, 3, H, W] is too small to train its batch norm.

    With one value a channel the variance is 0, and torch refuses to normalise.
    """
    if config.freeze_at < NUM_STAGES:
        _check("norm", config.norm, PAD_MULTIPLE, images)
    _check("head-norm", config.head_norm, STRIDES[config.num_levels - 1], images)


def check_norms(config: ModelConfig, device: torch.device, world: int) -> None:
    """UserError where several processes are to train a sync_bn, and torch has none for `device`."""
    trained = {"norm": config.freeze_at < NUM_STAGES and config.norm, "head-norm": config.head_norm}
    for option, norm in trained.items():
        if norm == "sync_bn" and world > 1 and device.type == "cpu":
            raise UserError(
                f"{option} must not be sync_bn in several processes on a CPU, as torch has it for "
                f"GPUs only: take --{option} gn"
            )


def _check(option: str, norm: str, stride: int, images: Tensor) -> None:
    count, _, height, width = images.shape
    values = count * -(-height // stride) * -(-width // stride)
    if values == 1 and (norm == "bn" or (norm == "sync_bn" and not _synchronised())):
        raise UserError(
            f"{option} {norm} needs more than one value a channel, and one image of "
            f"{height} x {width} pixels has one at stride {stride}: "
            f"take --{option} gn, a larger --batch or a larger --size"
        )


def _synchronised() -> bool:
    """Whether other processes have values, too."""
    distributed = torch.distributed
    return (
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )
