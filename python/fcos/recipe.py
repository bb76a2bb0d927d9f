"""What `fcos train` trains: the options given, over those of the checkpoint it resumes, over the
defaults. All are in one dictionary under the names of the options."""

from __future__ import annotations

import argparse
import math
from typing import Any

from .errors import UserError

Values = dict[str, Any]

MODEL = {
    "preset": "improved",
    "backbone": "resnet50",
    "backbone_width": 64,
    "norm": "bn",
    "stride_in_1x1": False,
    "freeze_at": 0,
    "extra_levels": "p5",
    "width": 256,
    "depth": 4,
    "head_norm": "gn",
}
INPUT = {"size": 800, "max_size": 1333}
DATA = {"split": "train", "limit": None, "eval_every": 0.0}
NOTES = (*DATA, "images")  # kept in the checkpoint; `images` is how many the data set has
SETTINGS = {
    "batch": 16,
    "accumulate": 1,
    "optimizer": "sgd",
    "weight_decay": 1e-4,
    "schedule": "cosine",
    "clip": 10.0,
    "ema": 0.0,
    "flip": 0.5,
    "amp": "off",
    "activation_checkpointing": False,
    "seed": 0,
    "workers": 0,
    "log_every": 10,
    "checkpoint_every": 1000,
}
DEFAULTS: Values = {**MODEL, **INPUT, **DATA, **SETTINGS}
EPOCHS = 12.0
_WITHOUT_DEFAULT = ("steps", "epochs", "lr", "warmup")  # steps and the rest depend on others


def given_values(options: argparse.Namespace) -> Values:
    """What the command line says itself; the parser leaves out every option that is not there."""
    return {k: v for k, v in vars(options).items() if k in DEFAULTS or k in _WITHOUT_DEFAULT}


def merge(given: Values, stored: Values) -> Values:
    """The command line's values over those stored over the defaults."""
    values = {**DEFAULTS, **stored, **given}
    if "max_size" in given:
        check_sides(values["size"], values["max_size"])
    values["max_size"] = max(values["size"], values["max_size"])
    return values


def check_sides(size: int, max_size: int) -> None:
    """Raises UserError where the long side of an image is to be below the short one."""
    if max_size < size:
        raise UserError(
            f"--max-size must be at least the short side, --size {size}, got {max_size}"
        )


def complete(values: Values, images: int) -> Values:
    """The merged values and those that depend on others, for a run on this many images."""
    values = {**values, "images": images}
    if "epochs" in values or "steps" not in values:
        epochs = values.pop("epochs", EPOCHS)
        values["steps"] = max(1, math.ceil(epochs * images / values["batch"]))
    if "lr" not in values:
        # published: 0.01 for SGD at 16 images a step, in proportion for other batches
        values["lr"] = 0.01 * values["batch"] / 16 if values["optimizer"] == "sgd" else 5e-4
    values.setdefault("warmup", min(500, values["steps"] // 10))
    return values


def changes(stored: Values, values: Values) -> str:
    """What differs from the run that was stored, as "lr 0.01 -> 0.02"; "" where nothing does."""
    different = [name for name in stored if stored[name] != values[name]]
    return ", ".join(f"{name} {stored[name]} -> {values[name]}" for name in different)
