"""The detector that a command was given, and how it reads images."""

from __future__ import annotations

import argparse

import torch

from ..configuration import check_sides
from ..detectors import read_model
from ..models import FCOS
from ..preprocessing import Preprocessing


def model_of(options: argparse.Namespace, device: torch.device) -> FCOS:
    """Of --weights; prints what was assumed of the file."""
    model, notes = read_model(options.weights, device)
    for note in notes:
        print(note, flush=True)
    return model


def preprocessing_of(options: argparse.Namespace, model: FCOS) -> Preprocessing:
    """The model's, with the sides that the options ask for."""
    trained = model.config.preprocessing
    size = options.size or trained.size
    if options.max_size:
        check_sides(size, options.max_size)
    return trained._replace(size=size, max_size=options.max_size or max(size, trained.max_size))
