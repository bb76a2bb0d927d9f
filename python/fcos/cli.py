"""The command line: fcos train | eval | detect | scenes | demo."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch

from . import commands
from .models import VARIANTS

_LAYOUT = """\
--data DIR holds a data set in COCO format, in either layout:
  DIR/annotations/instances_train2017.json  DIR/train2017/*.jpg   (and val2017)
  DIR/annotations/instances_train.json      DIR/train/*.jpg       (and val)
"""


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, got {text!r}")
    return value


def _add_data(parser: argparse.ArgumentParser, split: str) -> None:
    parser.add_argument("--data", required=True, metavar="DIR", help="data set in COCO format")
    parser.add_argument("--split", default=split, help="part of the data set (default %(default)s)")
    parser.add_argument(
        "--limit", type=_positive, metavar="N", help="use only the first N images of the split"
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="cpu, cuda or cuda:N (default %(default)s)",
    )
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that load images (default %(default)s)"
    )


def _add_train(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a detector",
        description="Train a detector. Writes last.pth and metrics.jsonl into the output folder.",
        epilog=_LAYOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_data(parser, "train")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument(
        "--resume", action="store_true", help="go on from last.pth in the output folder"
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "--preset", choices=sorted(VARIANTS), default="improved", help="published variant"
    )
    model.add_argument(
        "--backbone", choices=("resnet18", "resnet34", "resnet50"), default="resnet50"
    )
    model.add_argument("--backbone-weights", metavar="FILE", help="torchvision ResNet weights")
    model.add_argument("--backbone-width", type=_positive, default=64, help="channels of the stem")
    model.add_argument("--norm", choices=("bn", "gn", "frozen_bn"), default="bn")
    model.add_argument("--width", type=_positive, default=256, help="channels of pyramid and head")
    model.add_argument("--depth", type=_positive, default=4, help="convolutions in each tower")
    model.add_argument("--size", type=_positive, default=800, help="short side, pixels")
    model.add_argument("--max-size", type=_positive, default=1333, help="long side at most")
    recipe = parser.add_argument_group("recipe")
    length = recipe.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=float, default=12, help="default %(default)s")
    length.add_argument("--steps", type=_positive, help="instead of --epochs")
    recipe.add_argument("--batch", type=_positive, default=16, help="images a step")
    recipe.add_argument(
        "--lr", type=float, help="base learning rate (default 0.01 * batch / 16, AdamW 0.0005)"
    )
    recipe.add_argument("--optimizer", choices=("sgd", "adamw"), default="sgd")
    recipe.add_argument("--weight-decay", type=float, default=1e-4)
    recipe.add_argument("--schedule", choices=("cosine", "step"), default="cosine")
    recipe.add_argument("--warmup", type=int, help="steps (default 500, a tenth of a short run)")
    recipe.add_argument("--clip", type=float, default=10.0, help="gradient norm, 0: off")
    recipe.add_argument("--ema", type=float, default=0.0, metavar="DECAY", help="0: off")
    recipe.add_argument("--flip", type=float, default=0.5, help="probability of a flip")
    recipe.add_argument("--amp", choices=("off", "bf16"), default="off")
    recipe.add_argument("--seed", type=int, default=0)
    recipe.add_argument("--log-every", type=_positive, default=10, metavar="STEPS")
    recipe.add_argument("--checkpoint-every", type=_positive, default=1000, metavar="STEPS")
    recipe.add_argument(
        "--eval-every", type=float, default=0, metavar="EPOCHS", help="evaluate on val; 0: never"
    )
    _add_run(parser)
    parser.set_defaults(run=commands.train)


def _add_others(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "eval",
        help="COCO average precision of a checkpoint",
        epilog=_LAYOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_data(parser, "val")
    parser.add_argument("--weights", required=True, metavar="FILE")
    parser.add_argument("--batch", type=_positive, default=8)
    parser.add_argument("--size", type=_positive, help="default: as trained")
    parser.add_argument("--max-size", type=_positive, help="default: as trained")
    parser.add_argument("--output", metavar="FILE", help="also write the detections as COCO JSON")
    parser.add_argument(
        "--draw", metavar="DIR", help="also draw ground truth beside detections, a picture an image"
    )
    parser.add_argument("--min-score", type=float, default=0.3, help="drawn from this score on")
    _add_run(parser)
    parser.set_defaults(run=commands.evaluate)

    parser = subparsers.add_parser("detect", help="detect on image files and draw the result")
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--weights", required=True, metavar="FILE")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--min-score", type=float, default=0.3, help="drawn from this score on")
    parser.add_argument("--size", type=_positive, help="default: as trained")
    parser.add_argument("--max-size", type=_positive, help="default: as trained")
    _add_run(parser)
    parser.set_defaults(run=commands.detect)

    parser = subparsers.add_parser("scenes", help="write a small data set of shapes")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--train", type=_positive, default=1000, help="images (default 1000)")
    parser.add_argument("--val", type=_positive, default=200, help="images (default 200)")
    parser.add_argument("--size", type=_positive, default=192, help="side, pixels (default 192)")
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(run=commands.scenes)

    parser = subparsers.add_parser(
        "demo", help="check the ops, train on scenes, evaluate, draw; minutes on two cores"
    )
    parser.add_argument("--output", default="out", metavar="DIR", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(run=commands.demo)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fcos", description="FCOS detector on fcos_ops.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(subparsers)
    _add_others(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 on success, 1 with one line on stderr where the input is at fault."""
    options = make_parser().parse_args(arguments)
    try:
        options.run(options)
    except commands.USER_ERRORS as error:
        print(f"fcos: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fcos: interrupted", file=sys.stderr)
        return 130
    return 0
