"""The detector that a command was given, and how it reads images."""

from __future__ import annotations

import argparse
from typing import NamedTuple

import torch

from ..configuration import check_sides
from ..data import DetectionDataset
from ..detection.dataset import describe_unused, match_categories
from ..detectors import read_model
from ..models import FCOS
from ..preprocessing import Preprocessing
from .detection_rule import apply_options


def model_of(options: argparse.Namespace, device: torch.device) -> FCOS:
    """Of --weights; prints what was assumed of the file."""
    model, notes = read_model(options.weights, device)
    for note in notes:
        print(note, flush=True)
    return model


class DetectorOnData(NamedTuple):
    """A detector, the data of --data or --annotations, the ids of the categories of --classes."""

    model: FCOS
    dataset: DetectionDataset
    category_ids: list[int]


def detector_on_data(options: argparse.Namespace, device: torch.device) -> DetectorOnData:
    """What `fcos eval` and `show` run; prints which of its channels the data does not know."""
    model = model_of(options, device)
    chosen = apply_options(model, options)
    dataset = DetectionDataset(options.found, preprocessing_of(options, model))
    if unused := describe_unused(model.config, match_categories(model.config, dataset)):
        print(f"left out of the results: {unused}", flush=True)
    return DetectorOnData(model, dataset, chosen)


def preprocessing_of(options: argparse.Namespace, model: FCOS) -> Preprocessing:
    """The model's, with the sides that the options ask for."""
    trained = model.config.preprocessing
    size = options.size or trained.size
    if options.max_size:
        check_sides(size, options.max_size)
    return trained._replace(size=size, max_size=options.max_size or max(size, trained.max_size))
