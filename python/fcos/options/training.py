"""The options of the groups model and recipe of `fcos train`: values of `Configuration`."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any, get_args

from ..configuration import DEFAULT_EPOCHS, DEFAULTS
from ..names import NUM_STAGES, PRESETS, BackboneName, ExtraLevels, HeadNormName, NormName
from ..recipes import RECIPES
from .types import (
    AMOUNT,
    CHANNELS,
    COUNT,
    DEPTH,
    EPOCHS,
    FACTOR,
    LEFT_OUT,
    POSITIVE,
    PROBABILITY,
    RATE,
    SEED,
    SIDE,
    Milestones,
    Number,
    scales,
)


def _default(name: str) -> str:
    value = DEFAULTS[name]
    if isinstance(value, bool):
        return f"(default {'yes' if value else 'no'})"
    return f"(default {f'{value:g}' if isinstance(value, float) else value})"


def _add(group: argparse._ArgumentGroup, name: str, help_text: str, **options: Any) -> None:
    group.add_argument(f"--{name}", help=help_text, default=LEFT_OUT, **options)


def add_model(group: argparse._ArgumentGroup) -> None:
    add = partial(_add, group)
    help_text = "start from a detector: what fits of it, and its model options"
    start = group.add_mutually_exclusive_group()
    start.add_argument("--weights", metavar="FILE", help=help_text)
    help_text = "start from an ImageNet ResNet of torchvision, detectron2 or Caffe2"
    start.add_argument("--backbone-weights", metavar="FILE", help=help_text)
    add("preset", f"published variant {_default('preset')}", choices=PRESETS)
    add("backbone", _default("backbone"), choices=get_args(BackboneName))
    add("backbone-width", f"channels of the stem {_default('backbone_width')}", type=CHANNELS)
    add("norm", f"of the backbone {_default('norm')}", choices=get_args(NormName))
    help_text = f"of bottlenecks, instead of the 3x3 {_default('stride_in_1x1')}"
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
    add = partial(_add, group)
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
    _add_views(group)
    add("amp", _default("amp"), choices=("off", "bf16"))
    help_text = f"compute the backbone twice, store less {_default('activation_checkpointing')}"
    add("activation-checkpointing", help_text, action=argparse.BooleanOptionalAction)
    add("seed", _default("seed"), type=SEED)
    add("log-every", _default("log_every"), type=POSITIVE, metavar="STEPS")
    help_text = f"besides once an epoch {_default('checkpoint_every')}"
    add("checkpoint-every", help_text, type=POSITIVE, metavar="STEPS")
    add("eval-every", "evaluate on val (default 0: never)", type=EPOCHS, metavar="EPOCHS")
    _add_optimizer(group)


def _add_views(group: argparse._ArgumentGroup) -> None:
    add = partial(_add, group)
    add("flip", f"probability of a flip {_default('flip')}", type=PROBABILITY)
    help_text = (
        "short sides, pixels, of which each image has one drawn, instead of --size: "
        f"640-800 (all of them) or 640,672,800 {_default('scales')}"
    )
    add("scales", help_text, type=scales, metavar="SIDES")
    help_text = f"brightness, contrast, saturation, hue; 0.5: as SSD {_default('colour_jitter')}"
    add("colour-jitter", help_text, type=PROBABILITY, metavar="STRENGTH")
    help_text = "no wide images beside tall ones in a batch (default no)"
    add("aspect-groups", help_text, action=argparse.BooleanOptionalAction)
    help_text = f"leave out images without a box to train on {_default('drop_empty')}"
    add("drop-empty", help_text, action=argparse.BooleanOptionalAction)


def _add_optimizer(group: argparse._ArgumentGroup) -> None:
    add = partial(_add, group)
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
