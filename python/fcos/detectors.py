"""Detectors from files: our own checkpoints, torchvision's weights, and others once converted."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from .errors import UserError
from .models import FCOS
from .training.checkpoint import is_checkpoint, model_of_checkpoint
from .weights.conversion import Categories, Converted
from .weights.files import read_weights_file
from .weights.layouts import convert, recognise
from .weights.loading import build
from .weights.state import unwrap


def load_model(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> FCOS:
    """See `FCOS.from_checkpoint`."""
    model, _ = read_model(path, device)
    return model


def read_model(
    path: str | os.PathLike[str], device: torch.device | str = "cpu"
) -> tuple[FCOS, list[str]]:
    """As `load_model`, and sentences that say what was assumed of the file."""
    content = read_weights_file(path)
    if is_checkpoint(content):
        return model_of_checkpoint(path, content).to(device), []
    weights = unwrap(content, path)
    layout = recognise(weights)
    if layout != "torchvision":
        raise UserError(f"{path} holds weights of {layout}: `fcos convert {path} OUT` comes first")
    with _naming(path):
        converted = convert(weights)
        return _built(converted).to(device), converted.notes


def convert_file(
    path: str | os.PathLike[str],
    *,
    layout: str | None = None,
    preset: str | None = None,
    categories: Categories | None = None,
) -> tuple[FCOS, list[str]]:
    """The model of another program's file in evaluation mode, and sentences that say what was
    assumed of it.

    Args:
        path: a file in one of the layouts of `LAYOUTS`.
        layout, preset, categories: see `layouts.convert`.

    Raises:
        FileNotFoundError: no such file.
        UserError: not such a file, or something has to be given.
    """
    content = read_weights_file(path)
    if is_checkpoint(content):
        raise UserError(f"{path} is a checkpoint of `fcos train` already")
    meta = content if isinstance(content, dict) else {}
    weights = unwrap(content, path)
    with _naming(path):
        converted = convert(
            weights,
            meta,
            layout=layout,
            preset=preset,
            categories=categories,
            hint=Path(path).stem,
        )
        return _built(converted), converted.notes


def _built(converted: Converted) -> FCOS:
    return build(converted.config, converted.state).eval()


@contextlib.contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever is wrong with the weights, or with what else the file holds, is the file's."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
