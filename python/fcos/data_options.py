"""Which data --data, --annotations and their companions mean."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NamedTuple

from .data import find_split
from .errors import UserError


class DataFiles(NamedTuple):
    """An annotation file, the folder that its file names lead from, and what to call them."""

    annotations: Path
    images: Path
    name: str


def training_files(options: argparse.Namespace, split: str) -> DataFiles:
    """Of --annotations and --images, else the part `split` of --data.

    Raises:
        UserError: options that do not go together.
        FileNotFoundError: files that are not there.
    """
    if options.annotations is None:
        if options.images is not None:
            raise UserError("--images must come with --annotations, got --data")
        return DataFiles(*find_split(options.data, split), split)
    if getattr(options, "split", None) is not None:
        raise UserError("--split must come with --data, got --annotations")
    return _named("", options.annotations, options.images)


def validation_files(options: argparse.Namespace, eval_every: float) -> DataFiles | None:
    """What --eval-every evaluates on; None where it is 0. Errors: `training_files`"""
    if not eval_every:
        for name in ("val_annotations", "val_images"):
            if getattr(options, name) is not None:
                option = name.replace("_", "-")
                raise UserError(f"--{option} must come with --eval-every EPOCHS, got none")
        return None
    if options.val_annotations is not None:
        return _named("val-", options.val_annotations, options.val_images)
    if options.val_images is not None:
        raise UserError("--val-images must come with --val-annotations, got none")
    if options.data is None:
        raise UserError("--eval-every must come with --val-annotations FILE where --data is not")
    return DataFiles(*find_split(options.data, "val"), "val")


def _named(prefix: str, file: str, folder: str | None) -> DataFiles:
    if folder is None:
        raise UserError(f"--{prefix}annotations must come with --{prefix}images DIR, got none")
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"--{prefix}images must be a folder, got {folder}")
    return DataFiles(Path(file), Path(folder), Path(file).name)
