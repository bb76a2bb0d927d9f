"""Checkpoints: one file with the weights and all that is needed to go on or to detect."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import torch

from ..errors import UserError
from ..files import load_torch_file, save_torch_file
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
    save_torch_file(path, content)


def load_checkpoint(path: str | os.PathLike[str], *, to_resume: bool = False) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        FileNotFoundError: no such file.
        UserError: not a checkpoint of this package, or, to resume, one of a model alone.
    """
    content = load_torch_file(path, "checkpoint")
    known = isinstance(content, dict) and content.get("format") == FORMAT
    if not known or not {"config", "input", "model"} <= content.keys():
        raise UserError(f"{path}: not a checkpoint written by `fcos train`")
    missing = {"settings", "optimizer", "ema", "step", "rng"} - content.keys()
    if to_resume and missing:
        raise UserError(f"{path}: holds a model, but no {', no '.join(sorted(missing))} to resume")
    return content


def load_model(
    path: str | os.PathLike[str], device: torch.device | str = "cpu"
) -> tuple[FCOS, InputSize]:
    """The model of a checkpoint in evaluation mode, with the averaged weights if it has them.

    Raises: as `load_checkpoint`.
    """
    content = load_checkpoint(path)
    ema = content.get("ema")
    try:
        model = FCOS(ModelConfig.from_dict(content["config"]))
        model.load_state_dict(content["model"] if ema is None else ema["model"])
        input_size = InputSize(**content["input"])
    except (LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path}: its parts do not fit together: {error}") from error
    return model.eval().to(device), input_size
