"""How a command changes what a detector gives: threshold of NMS, limit, classes."""

from __future__ import annotations

import argparse
import dataclasses

import torch

from ..models import FCOS, ModelConfig
from .classes import find_classes


def apply_options(model: FCOS, options: argparse.Namespace) -> list[int]:
    """Change the model's rule as the options of `add_detection_rule` have it.

    Returns:
        The ids of the categories that --classes names; of all that the model knows without it.

    Raises:
        UserError: --classes names one that it does not know.
    """
    config = model.config
    given = {
        "iou_threshold": options.iou_threshold,
        "max_detections": options.max_detections,
        "class_agnostic": options.class_agnostic or None,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    rule = config.postprocess._replace(**changes)
    model.config = dataclasses.replace(config, postprocess=rule)
    if options.classes is None:
        return [number for number in config.category_ids if number is not None]
    channels = find_channels(config, options.classes)
    mask = torch.zeros(config.num_classes, dtype=torch.bool)
    mask[channels] = True
    model.detected_classes = mask.to(next(model.parameters()).device)
    return [number for c in channels if (number := config.category_ids[c]) is not None]


def find_channels(config: ModelConfig, classes: str) -> list[int]:
    """The channels of categories that the model knows: see `find_classes`."""
    known = {
        channel: (number, config.category_name(channel))
        for channel, number in enumerate(config.category_ids)
        if number is not None
    }
    return find_classes(known, classes)
