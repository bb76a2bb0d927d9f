"""Checkpoints: one file with the weights and all that is needed to go on or to detect."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import torch

from ..files import atomic_path, load_torch_file
from ..models import FCOS, ModelConfig

FORMAT = 1


class InputSize(NamedTuple):
    """The resize that a model was trained with; see `fcos.data.transforms.resized_size`."""

    size: int
    max_size: int


def save_checkpoint(
    path: str | os.PathLike[str], model: FCOS, input_size: InputSize, **state: Any
) -> None:
    """Write atomically: whoever reads `path` finds the old file or the new one, whole."""
    content = {
        "format": FORMAT,
        "config": model.config.to_dict(),
        "input": input_size._asdict(),
        "model": model.state_dict(),
        **state,
    }
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint of this package.
    """
    content = load_torch_file(path, "checkpoint")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path}: not a checkpoint written by `fcos train`")
    return content


def load_model(
    path: str | os.PathLike[str], device: torch.device | str = "cpu"
) -> tuple[FCOS, InputSize]:
    """The model of a checkpoint in evaluation mode, with the averaged weights if it has them."""
    content = load_checkpoint(path)
    model = FCOS(ModelConfig.from_dict(content["config"]))
    ema = content.get("ema")
    model.load_state_dict(content["model"] if ema is None else ema["model"])
    return model.eval().to(device), InputSize(**content["input"])
