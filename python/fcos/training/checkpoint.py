"""Checkpoints: one file with the weights and all that is needed to go on or to detect."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..files import atomic_path
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
    """Read a checkpoint onto the CPU. No code in the file is run (weights_only).

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint of this package.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"checkpoint not found: {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: not a checkpoint: {first_line}") from error
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
