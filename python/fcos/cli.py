"""The command line: fcos train | eval | detect | scenes | demo."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Any

from . import recipe
from .errors import TrainingError, UserError
from .interrupts import Interrupted, ignore_signals
from .memory import ADVICE, is_out_of_memory

_LAYOUT = """\
--data DIR holds a data set in COCO format, in either layout:
  DIR/annotations/instances_train2017.json  DIR/train2017/*.jpg   (and val2017)
  DIR/annotations/instances_train.json      DIR/train/*.jpg       (and val)
"""


class _Number:
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
            return f"{noun} above {self.least:g} and below {self.most:g}"
        return f"{'0 or ' * self.or_zero}{noun} from {self.least:g} to {self.most:g}"


_POSITIVE = _Number(int, 1, 10**9)
_COUNT = _Number(int, 0, 10**9)
_WORKERS = _Number(int, 0, 1000)
_CHANNELS = _Number(int, 1, 1 << 16)
_DEPTH = _Number(int, 1, 1000)
_SIDE = _Number(int, 1, 100_000)
_SEED = _Number(int, 0, 2**32 - 1)
_RATE = _Number(float, 0, 1e6, open_ends=True)
_AMOUNT = _Number(float, 0, 1e6)
_EPOCHS = _Number(float, 1e-3, 1e6, or_zero=True)
_PROBABILITY = _Number(float, 0, 1)
# those of the extra `detector`, and what fcos_ops needs itself
PACKAGES = ("torch", "numpy", "PIL", "pycocotools", "tqdm")
_LEFT_OUT = argparse.SUPPRESS  # given_values then sees what the command line says itself


def _default(name: str) -> str:
    return f"(default {recipe.DEFAULTS[name]})"


def _add_data(parser: argparse.ArgumentParser, split: str, **options: Any) -> None:
    parser.add_argument("--data", required=True, metavar="DIR", help="data set in COCO format")
    help_text = f"part of the data set (default {split})"
    parser.add_argument("--split", help=help_text, **({"default": split} | options))
    help_text = "use only the first N images of the split"
    parser.add_argument("--limit", type=_POSITIVE, metavar="N", help=help_text, **options)


def _add_device(parser: argparse.ArgumentParser) -> None:
    import torch  # here, so that `main` can say that it is missing

    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="cpu, cuda or cuda:N (default %(default)s)",
    )


def _add_workers(parser: argparse.ArgumentParser, **options: Any) -> None:
    help_text = "processes that load images (default 0)"
    parser.add_argument("--workers", type=_WORKERS, help=help_text, **({"default": 0} | options))


def _add_train(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a detector",
        description="Train a detector. Writes last.pth, at least once an epoch and when it is "
        "interrupted, and metrics.jsonl into the output folder.",
        epilog=_LAYOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_data(parser, "train", default=_LEFT_OUT)
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from last.pth in the output folder, with its model and recipe; "
        "options given as well change the recipe",
    )
    _add_model(parser.add_argument_group("model"))
    _add_recipe(parser.add_argument_group("recipe"))
    _add_device(parser)
    _add_workers(parser, default=_LEFT_OUT)
    parser.set_defaults(command="train")


def _add_model(group: argparse._ArgumentGroup) -> None:
    from .models import VARIANTS

    def add(name: str, help_text: str, **options: Any) -> None:
        group.add_argument(f"--{name}", help=help_text, default=_LEFT_OUT, **options)

    add("preset", f"published variant {_default('preset')}", choices=sorted(VARIANTS))
    backbones = ("resnet18", "resnet34", "resnet50")
    add("backbone", _default("backbone"), choices=backbones)
    help_text = "torchvision ResNet weights"
    group.add_argument("--backbone-weights", metavar="FILE", help=help_text, default=None)
    add("backbone-width", f"channels of the stem {_default('backbone_width')}", type=_CHANNELS)
    add("norm", _default("norm"), choices=("bn", "gn", "frozen_bn"))
    add("width", f"channels of pyramid and head {_default('width')}", type=_CHANNELS)
    add("depth", f"convolutions in each tower {_default('depth')}", type=_DEPTH)
    add("size", f"short side, pixels {_default('size')}", type=_SIDE)
    add("max-size", f"long side at most {_default('max_size')}", type=_SIDE)


def _add_recipe(group: argparse._ArgumentGroup) -> None:
    def add(name: str, help_text: str, **options: Any) -> None:
        group.add_argument(f"--{name}", help=help_text, default=_LEFT_OUT, **options)

    length = group.add_mutually_exclusive_group()
    help_text = f"passes over the data (default {recipe.EPOCHS:g})"
    length.add_argument("--epochs", type=_RATE, help=help_text, default=_LEFT_OUT)
    length.add_argument("--steps", type=_POSITIVE, help="instead of --epochs", default=_LEFT_OUT)
    add("batch", f"images a step {_default('batch')}", type=_POSITIVE)
    add("lr", "base learning rate (default 0.01 * batch / 16, AdamW 0.0005)", type=_RATE)
    add("optimizer", _default("optimizer"), choices=("sgd", "adamw"))
    add("weight-decay", _default("weight_decay"), type=_AMOUNT)
    add("schedule", _default("schedule"), choices=("cosine", "step"))
    add("warmup", "steps (default 500, a tenth of a short run)", type=_COUNT)
    add("clip", f"gradient norm, 0: off {_default('clip')}", type=_AMOUNT)
    add("ema", "below 1; 0: off", type=_PROBABILITY, metavar="DECAY")
    add("flip", f"probability of a flip {_default('flip')}", type=_PROBABILITY)
    add("amp", _default("amp"), choices=("off", "bf16"))
    add("seed", _default("seed"), type=_SEED)
    add("log-every", _default("log_every"), type=_POSITIVE, metavar="STEPS")
    help_text = f"besides once an epoch {_default('checkpoint_every')}"
    add("checkpoint-every", help_text, type=_POSITIVE, metavar="STEPS")
    add("eval-every", "evaluate on val; 0: never (default)", type=_EPOCHS, metavar="EPOCHS")


def _add_min_score(parser: argparse.ArgumentParser) -> None:
    help_text = "shown from this score on (default %(default)s)"
    parser.add_argument("--min-score", type=_PROBABILITY, default=0.3, help=help_text)


def _add_others(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "eval",
        help="COCO average precision of a checkpoint",
        epilog=_LAYOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_data(parser, "val")
    parser.add_argument("--weights", required=True, metavar="FILE")
    parser.add_argument("--batch", type=_POSITIVE, default=8)
    parser.add_argument("--size", type=_SIDE, help="default: as trained")
    parser.add_argument("--max-size", type=_SIDE, help="default: as trained")
    parser.add_argument("--output", metavar="FILE", help="also write the detections as COCO JSON")
    parser.add_argument(
        "--draw", metavar="DIR", help="also draw ground truth beside detections, a picture an image"
    )
    help_text = "draw into a folder that holds such pictures"
    parser.add_argument("--overwrite", action="store_true", help=help_text)
    _add_min_score(parser)
    _add_device(parser)
    _add_workers(parser)
    parser.set_defaults(command="evaluate")

    parser = subparsers.add_parser(
        "detect",
        help="detect on image files and draw the result",
        description="Detect on images. Writes detections.json and a picture an image into the "
        "output folder. An image that cannot be read is listed with its error, and the exit status "
        "is then 1.",
    )
    help_text = "a file, a folder with all images below it, or a pattern in quotes"
    parser.add_argument("images", nargs="+", metavar="IMAGE", help=help_text)
    parser.add_argument("--weights", required=True, metavar="FILE")
    parser.add_argument("--output", required=True, metavar="DIR")
    help_text = "write into a folder that holds another run"
    parser.add_argument("--overwrite", action="store_true", help=help_text)
    _add_min_score(parser)
    parser.add_argument("--size", type=_SIDE, help="default: as trained")
    parser.add_argument("--max-size", type=_SIDE, help="default: as trained")
    _add_device(parser)
    parser.set_defaults(command="detect")

    parser = subparsers.add_parser("scenes", help="write a small data set of shapes")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--train", type=_POSITIVE, default=1000, help="images (default 1000)")
    parser.add_argument("--val", type=_POSITIVE, default=200, help="images (default 200)")
    parser.add_argument("--size", type=_SIDE, default=192, help="side, pixels (default 192)")
    parser.add_argument("--seed", type=_SEED, default=0)
    parser.set_defaults(command="scenes")

    parser = subparsers.add_parser(
        "demo", help="check the ops, train on scenes, evaluate, draw; minutes on two cores"
    )
    parser.add_argument("--output", default="out", metavar="DIR", help="default %(default)s")
    parser.add_argument("--seed", type=_SEED, default=0)
    parser.set_defaults(command="demo")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fcos", description="FCOS detector on fcos_ops.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(subparsers)
    _add_others(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command: arguments, or those of this process, which is then expected to end.

    Returns:
        0: done. 1: `detect` could not read some of the images. 2: an error, one line on stderr.
        128 + the number of the signal that interrupted it.
    """
    try:
        options = make_parser().parse_args(arguments)
        from . import commands  # here, so that --help needs none of the extra packages

        return getattr(commands, options.command)(options) or 0
    except (UserError, TrainingError, OSError) as error:
        return _fail(f"error: {error}", 2)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in PACKAGES:
            raise
        return _fail(f"error: {package} is missing: pip install 'fcos_ops[detector]'", 2)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return _fail(f"error: {ADVICE}", 2)
    except Interrupted as error:
        if arguments is None:
            ignore_signals()
        return _fail(f"interrupted by {error}", 128 + error.number)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def _fail(message: str, status: int) -> int:
    print("fcos:", " ".join(line.strip() for line in message.splitlines()), file=sys.stderr)
    return status
