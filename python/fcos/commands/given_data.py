"""Which data --data, --annotations and their companions mean: read before torch is imported,
but with --resume, as the checkpoint knows which part it is."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..configuration import Merged, Values, check_anew, complete, given_values, merge
from ..data.annotated import AnnotatedImages
from ..data.coco import without_root_category
from ..data.forms import find_parts, read_file, read_part
from ..data.held_out import HeldOut
from ..data.part import Part, Parts
from ..distributed.launch import read_launch
from ..errors import UserError
from ..files import check_there
from ..names import BEST_NAME, CHECKPOINT_NAME


class TrainingData(NamedTuple):
    """What `fcos train` trains on, and what --eval-every evaluates on: None where it is 0."""

    train: AnnotatedImages
    val: AnnotatedImages | None


def read_early(options: argparse.Namespace) -> None:
    """Sets `options.found` to the data of a command, and says what they hold.

    For `fcos train` a `TrainingData`, or None with --resume, as the checkpoint knows which part it
    is. For the others `AnnotatedImages`.

    Raises:
        FileNotFoundError, UserError: options that do not go together; data that are not there, or
            not what they should be.
    """
    _check(options)
    _check_weights(options)
    options.found = None
    if options.command != "train":
        usual = "train" if getattr(options, "val_fraction", 0.0) else "val"
        options.found = _read(options, getattr(options, "split", usual), _limit(options))
        return
    checkpoint = Path(options.output, CHECKPOINT_NAME)
    if options.resume:
        check_there(checkpoint, "checkpoint")
        if options.data is not None:
            find_parts(options.data)
        print(f"going on from {checkpoint}", flush=True)
    else:
        if checkpoint.exists():
            raise UserError(
                f"{checkpoint} exists: add --resume to go on, or choose another --output"
            )
        if (best := checkpoint.with_name(BEST_NAME)).exists():
            raise UserError(f"{best} exists, of another training: choose another --output")
        asked = merge(given_values(options), options.file, {})
        _check_values(options, asked)
        options.found = read_training(options, asked.values)


def read_training(options: argparse.Namespace, values: Values) -> TrainingData:
    """The data of a training with these values of `DataOptions`."""
    every, fraction = values["eval_every"], values["val_fraction"]
    _check_validation(options, every, fraction)
    parts = None if options.data is None else find_parts(options.data)
    part = _part(options.data, values["split"], options.annotations, options.images, parts)
    rest = HeldOut(fraction, wanted=False) if fraction else None
    train = _announced(options, part, values["limit"], rest, drop_empty=values["drop_empty"])
    if not every:
        return TrainingData(train, None)
    if fraction:
        return TrainingData(train, _announced(options, part, None, HeldOut(fraction, wanted=True)))
    part = _part(options.data, "val", options.val_annotations, options.val_images, parts)
    return TrainingData(train, _announced(options, part))


def all_parts(options: argparse.Namespace) -> list[Callable[[], AnnotatedImages]]:
    """Every part of --data, or that of --split; or what --annotations and --images name; each is
    read when it is called."""
    _check(options)
    if options.annotations is not None or hasattr(options, "split"):
        return [partial(_read, options, getattr(options, "split", ""), _limit(options))]

    def announced(name: str, read: Callable[[], Part]) -> AnnotatedImages:
        return _announced(options, read()._replace(name=name), _limit(options))

    return [partial(announced, name, read) for name, read in find_parts(options.data).items()]


def _read(options: argparse.Namespace, split: str, limit: int | None) -> AnnotatedImages:
    fraction = getattr(options, "val_fraction", 0.0)
    part = _part(options.data, split, options.annotations, options.images)
    return _announced(options, part, limit, HeldOut(fraction, wanted=True) if fraction else None)


def _part(
    data: str, split: str, annotations: str | None, images: str, parts: Parts | None = None
) -> Part:
    """What a file of annotations and its images are, or else a part of `data`."""
    if annotations is not None:
        return read_file(annotations, images)
    return read_part(data, split, parts)._replace(name=split)


def _announced(
    options: argparse.Namespace,
    part: Part,
    limit: int | None = None,
    held_out: HeldOut | None = None,
    *,
    drop_empty: bool = False,
) -> AnnotatedImages:
    if not options.keep_root_category:
        part = without_root_category(part)
    annotated = AnnotatedImages(part, limit=limit, held_out=held_out, drop_empty=drop_empty)
    name = part.name if held_out is None else f"{part.name}, {held_out}"
    print(f"{name}: {annotated.contents}", flush=True)
    if part.form != "COCO":
        print(f"fcos: {part.name} is in the form of {part.form}: {part.source}", file=sys.stderr)
    for note in annotated.notes:
        print(f"fcos: {part.name}: {note}", file=sys.stderr)
    return annotated


def _check_weights(options: argparse.Namespace) -> None:
    resumes = options.command == "train" and options.resume
    for name in ("weights", "backbone_weights"):
        path = getattr(options, name, None)
        if resumes and path is not None:
            option = name.replace("_", "-")
            raise UserError(f"--{option} must not be given with --resume, which has weights")
        if path:
            check_there(path, f"file of {name.replace('_', ' ')}")


def _check_values(options: argparse.Namespace, asked: Merged) -> None:
    """Values that are out of range or do not fit, before anything is read that takes long."""
    if options.weights is not None:  # which say the other values
        return
    configuration, _ = complete(asked, images=1)  # how many there are decides on lengths alone
    configuration.settings.check_shares(read_launch().world)
    if options.backbone_weights is None:
        check_anew(configuration)


def _limit(options: argparse.Namespace) -> int | None:
    return getattr(options, "limit", None)


def _check(options: argparse.Namespace) -> None:
    if options.annotations is not None:
        _check_folder("", options.images)
        if hasattr(options, "split"):
            raise UserError("--split must come with --data, got --annotations")
    elif options.images is not None:
        raise UserError("--images must come with --annotations, got --data")


def _check_validation(options: argparse.Namespace, eval_every: float, fraction: float) -> None:
    if options.val_annotations is not None:
        if fraction:
            raise UserError("--val-annotations must not come with --val-fraction, got both")
        if not eval_every:
            raise UserError("--val-annotations must come with --eval-every EPOCHS, got none")
        _check_folder("val-", options.val_images)
    elif options.val_images is not None:
        raise UserError("--val-images must come with --val-annotations, got none")
    elif options.data is None and eval_every and not fraction:
        raise UserError(
            "--eval-every must come with --val-annotations FILE or --val-fraction where --data is "
            "not"
        )


def _check_folder(prefix: str, folder: str | None) -> None:
    if folder is None:
        raise UserError(f"--{prefix}annotations must come with --{prefix}images DIR, got none")
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"--{prefix}images must be a folder, got {folder}")
