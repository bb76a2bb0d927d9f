"""Types and groups of options that commands share, and those of the model and the recipe."""

from __future__ import annotations

import argparse
import math
from fractions import Fraction
from typing import Any, get_args

from .configuration import DEFAULT_EPOCHS, DEFAULTS
from .data.scales import parse_scales
from .errors import UserError
from .names import (
    NUM_STAGES,
    PRESETS,
    BackboneName,
    ExtraLevels,
    HeadNormName,
    NormName,
)
from .recipes import RECIPES


class Number:
    """The type of an option: a number in a range, whole or not."""

    def __init__(
        self,
        kind: type[int] | type[float],
        least: float,
        most: float,
        *,
        open_ends: bool = False,
        or_zero: bool = False,
    ) -> None:
        self.kind, self.least, self.most = kind, least, most
        self.open, self.or_zero = open_ends, or_zero

    def __call__(self, text: str) -> float:
        try:
            value = self.kind(text)
        except ValueError:
            value = math.nan
        inside = self.least < value < self.most if self.open else self.least <= value <= self.most
        if not inside and not (self.or_zero and value == 0):
            raise argparse.ArgumentTypeError(f"must be {self}, got {text!r}")
        return value

    def __str__(self) -> str:
        noun = "a whole number" if self.kind is int else "a number"
        if self.open:
            return f"{'0 or ' * self.or_zero}{noun} above {self.least:g} and below {self.most:g}"
        return f"{'0 or ' * self.or_zero}{noun} from {self.least:g} to {self.most:g}"


class Milestones:
    """The type of an option: numbers that rise, such as 2/3,8/9 or 60000,80000."""

    def __call__(self, text: str) -> tuple[float, ...]:
        try:
            numbers = tuple(float(Fraction(item.strip())) for item in text.split(","))
        except (ValueError, ArithmeticError):
            numbers = ()
        rising = all(low < high for low, high in zip(numbers, numbers[1:], strict=False))
        if not numbers or numbers[0] <= 0 or not rising:
            expected = "rising shares of the steps, such as 2/3,8/9, or steps, such as 60000,80000"
            raise argparse.ArgumentTypeError(f"must be {expected}, got {text!r}")
        return numbers


POSITIVE = Number(int, 1, 10**9)
COUNT = Number(int, 0, 10**9)
WORKERS = Number(int, 0, 1000)
THREADS = Number(int, 1, 1000)
CHANNELS = Number(int, 1, 1 << 16)
DEPTH = Number(int, 1, 1000)
SIDE = Number(int, 1, 100_000)
SEED = Number(int, 0, 2**32 - 1)
RATE = Number(float, 0, 1e6, open_ends=True)
AMOUNT = Number(float, 0, 1e6)
EPOCHS = Number(float, 1e-3, 1e6, or_zero=True)
PROBABILITY = Number(float, 0, 1)
FRACTION = Number(float, 0, 1, open_ends=True, or_zero=True)
FACTOR = Number(float, 0, 1000)
DETECTIONS = Number(int, 1, 1000)
LEFT_OUT = argparse.SUPPRESS  # given_values then sees what the command line says itself


def _scales(text: str) -> str:
    """The type of --scales: the text itself, once it can be read."""
    try:
        parse_scales(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("scales ")) from error
    return text


def _default(name: str) -> str:
    value = DEFAULTS[name]
    return f"(default {f'{value:g}' if isinstance(value, float) else value})"


def add_data(parser: argparse.ArgumentParser, split: str, *, positional: bool = False) -> None:
    """The options that `data_options` reads; --split and --limit have no attribute if left out."""
    source = parser.add_mutually_exclusive_group(required=True)
    help_text = "folder of a data set, see below"
    if positional:
        source.add_argument("data", metavar="DIR", nargs="?", help=help_text)
    else:
        source.add_argument("--data", metavar="DIR", help=help_text)
    help_text = "annotation file in COCO format, instead of --data"
    source.add_argument("--annotations", metavar="FILE", help=help_text)
    parser.add_argument("--images", metavar="DIR", help="images of --annotations")
    add_split_and_limit(parser, split)
    help_text = "keep the category 0 that Roboflow writes and never uses"
    parser.add_argument("--keep-root-category", action="store_true", help=help_text)


def add_split_and_limit(parser: argparse.ArgumentParser, split: str) -> None:
    help_text = f"part of --data (default {split})"
    parser.add_argument("--split", metavar="NAME", help=help_text, default=LEFT_OUT)
    help_text = "use only the first N images (default: all)"
    parser.add_argument("--limit", type=POSITIVE, metavar="N", help=help_text, default=LEFT_OUT)


def add_val_fraction(parser: argparse.ArgumentParser, help_text: str) -> None:
    parser.add_argument(
        "--val-fraction", type=FRACTION, metavar="SHARE", help=help_text, default=LEFT_OUT
    )


def add_validation(parser: argparse.ArgumentParser) -> None:
    help_text = "annotation file for --eval-every, instead of the part val of --data"
    parser.add_argument("--val-annotations", metavar="FILE", help=help_text)
    parser.add_argument("--val-images", metavar="DIR", help="images of --val-annotations")
    help_text = (
        "where there is no part val: do not train on this share of the images, chosen by their "
        "names, but evaluate on it (default 0)"
    )
    add_val_fraction(parser, help_text)


def add_device(parser: argparse.ArgumentParser) -> None:
    help_text = "cpu, cuda or cuda:N (default cuda where PyTorch sees it, else cpu; under torchrun "
    help_text += "cuda is the GPU of each process)"
    parser.add_argument("--device", help=help_text)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """It has no attribute if left out: `default_workers` then says how many."""
    help_text = (
        "processes that load images, beside each process that computes (default: on a GPU one a "
        "core, at most 8; else 0)"
    )
    parser.add_argument("--workers", type=WORKERS, help=help_text, default=LEFT_OUT)


def add_min_score(parser: argparse.ArgumentParser, shown: str, *other_names: str) -> None:
    """What is drawn or written; it is the attribute `min_score` by all of its names."""
    help_text = f"{shown} from this score on (default %(default)s)"
    names = ("--min-score", *other_names)
    parser.add_argument(*names, type=PROBABILITY, default=0.3, metavar="SCORE", help=help_text)


def add_batch(parser: argparse.ArgumentParser, which: str = "") -> None:
    help_text = f"images that run together{which} (default %(default)s)"
    parser.add_argument("--batch", type=POSITIVE, default=8, metavar="N", help=help_text)


def add_sides(parser: argparse.ArgumentParser) -> None:
    help_text = "of the resized images, pixels (default: as trained)"
    parser.add_argument("--size", type=SIDE, metavar="N", help=f"short side {help_text}")
    parser.add_argument("--max-size", type=SIDE, metavar="N", help=f"longest side {help_text}")


def add_overwrite(parser: argparse.ArgumentParser, help_text: str) -> None:
    parser.add_argument("--overwrite", action="store_true", help=help_text)


def add_detection_rule(parser: argparse.ArgumentParser) -> None:
    """What `detection_rule` applies beside thresholds of scores."""
    help_text = "of NMS: a box suppresses those that overlap it more (default: the model's)"
    parser.add_argument("--iou-threshold", type=PROBABILITY, metavar="IOU", help=help_text)
    help_text = "of an image (default: the model's, usually 100)"
    parser.add_argument("--max-detections", type=DETECTIONS, metavar="N", help=help_text)
    help_text = "only these, by name or id, such as 'dog,traffic light' (default: all)"
    parser.add_argument("--classes", metavar="NAME,...", help=help_text)
    help_text = "a box suppresses those of other classes, too"
    parser.add_argument("--class-agnostic", action="store_true", help=help_text)


def add_model(group: argparse._ArgumentGroup) -> None:
    def add(name: str, help_text: str, **options: Any) -> None:
        group.add_argument(f"--{name}", help=help_text, default=LEFT_OUT, **options)

    help_text = "start from a detector: what fits of it, and its model options"
    start = group.add_mutually_exclusive_group()
    start.add_argument("--weights", metavar="FILE", help=help_text)
    help_text = "start from an ImageNet ResNet of torchvision, detectron2 or Caffe2"
    start.add_argument("--backbone-weights", metavar="FILE", help=help_text)
    add("preset", f"published variant {_default('preset')}", choices=PRESETS)
    add("backbone", _default("backbone"), choices=get_args(BackboneName))
    add("backbone-width", f"channels of the stem {_default('backbone_width')}", type=CHANNELS)
    add("norm", f"of the backbone {_default('norm')}", choices=get_args(NormName))
    help_text = "of bottlenecks, instead of the 3x3 (default no)"
    add("stride-in-1x1", help_text, action=argparse.BooleanOptionalAction)
    help_text = f"stages not trained: 1 the stem, 2 also layer1, ... {_default('freeze_at')}"
    add("freeze-at", help_text, type=Number(int, 0, NUM_STAGES), metavar="N")
    help_text = f"what P6 is computed from {_default('extra_levels')}"
    add("extra-levels", help_text, choices=get_args(ExtraLevels))
    add("width", f"channels of pyramid and head {_default('width')}", type=CHANNELS)
    add("depth", f"convolutions in each tower {_default('depth')}", type=DEPTH)
    add("head-norm", f"of the towers {_default('head_norm')}", choices=get_args(HeadNormName))
    add("size", f"short side, pixels {_default('size')}", type=SIDE)
    add("max-size", f"long side at most {_default('max_size')}", type=SIDE)


def add_recipe(group: argparse._ArgumentGroup) -> None:
    def add(name: str, help_text: str, **options: Any) -> None:
        group.add_argument(f"--{name}", help=help_text, default=LEFT_OUT, **options)

    help_text = (
        "published schedule in place of the defaults, with its preset unless --preset is given "
        "(default none)"
    )
    add("recipe", help_text, choices=tuple(RECIPES))
    length = group.add_mutually_exclusive_group()
    help_text = f"passes over the data (default {DEFAULT_EPOCHS:g})"
    length.add_argument("--epochs", type=RATE, help=help_text, default=LEFT_OUT)
    length.add_argument("--steps", type=POSITIVE, help="instead of --epochs", default=LEFT_OUT)
    add("batch", f"images a step, of all processes {_default('batch')}", type=POSITIVE)
    help_text = f"compute a step in N parts, to take less memory {_default('accumulate')}"
    add("accumulate", help_text, type=POSITIVE, metavar="N")
    add("lr", "base learning rate (default 0.01 * batch / 16, AdamW 0.0005)", type=RATE)
    add("schedule", _default("schedule"), choices=("cosine", "step"))
    help_text = "where --schedule step divides the rate by 10 (default 2/3,8/9 of the steps)"
    add("milestones", help_text, type=Milestones(), metavar="N,...")
    add("warmup", "steps (default 500, at most a tenth of the run)", type=COUNT)
    add("warmup-kind", _default("warmup_kind"), choices=("linear", "constant"))
    help_text = "share of the rate it begins with (default 0: 1 / (warmup + 1))"
    add("warmup-factor", help_text, type=PROBABILITY)
    add("ema", "decay of averaged weights, below 1 (default 0: off)", type=PROBABILITY)
    add("flip", f"probability of a flip {_default('flip')}", type=PROBABILITY)
    help_text = (
        "short sides, pixels, of which each image has one drawn, instead of --size: "
        f"640-800 (all of them) or 640,672,800 {_default('scales')}"
    )
    add("scales", help_text, type=_scales, metavar="SIDES")
    help_text = f"brightness, contrast, saturation, hue; 0.5: as SSD {_default('colour_jitter')}"
    add("colour-jitter", help_text, type=PROBABILITY, metavar="STRENGTH")
    help_text = f"no wide images beside tall ones in a batch {_default('aspect_groups')}"
    add("aspect-groups", help_text, action=argparse.BooleanOptionalAction)
    help_text = "leave out images without a box to train on (default no)"
    add("drop-empty", help_text, action=argparse.BooleanOptionalAction)
    add("amp", _default("amp"), choices=("off", "bf16"))
    help_text = "compute the backbone's maps twice to store fewer (default no)"
    add("activation-checkpointing", help_text, action=argparse.BooleanOptionalAction)
    add("seed", _default("seed"), type=SEED)
    add("log-every", _default("log_every"), type=POSITIVE, metavar="STEPS")
    help_text = f"besides once an epoch {_default('checkpoint_every')}"
    add("checkpoint-every", help_text, type=POSITIVE, metavar="STEPS")
    add("eval-every", "evaluate on val (default 0: never)", type=EPOCHS, metavar="EPOCHS")
    _add_optimizer(group)


def _add_optimizer(group: argparse._ArgumentGroup) -> None:
    def add(name: str, help_text: str, **options: Any) -> None:
        group.add_argument(f"--{name}", help=help_text, default=LEFT_OUT, **options)

    add("optimizer", _default("optimizer"), choices=("sgd", "adamw"))
    add("momentum", f"of SGD, below 1 {_default('momentum')}", type=PROBABILITY)
    add("weight-decay", _default("weight_decay"), type=AMOUNT)
    for name, weights in (("norm", "norm layers"), ("bias", "biases"), ("scale", "level factors")):
        help_text = f"times --weight-decay, of {weights} {_default(f'{name}_decay_factor')}"
        add(f"{name}-decay-factor", help_text, type=FACTOR, metavar="FACTOR")
    help_text = f"times --lr, of biases {_default('bias_lr_factor')}"
    add("bias-lr-factor", help_text, type=Number(float, 1e-6, 1000), metavar="FACTOR")
    help_text = f"how biases of norm layers learn and decay {_default('norm_biases')}"
    add("norm-biases", help_text, choices=("as_norms", "as_biases"))
    add("clip", f"gradient norm, 0: off {_default('clip')}", type=AMOUNT)
