"""What each command takes, and its help."""

from __future__ import annotations

import argparse
from importlib import metadata
from typing import Any, TypeAlias

from ..distributed.launch import Launch
from ..names import EVALUATOR_NAMES, LAYOUT_NAMES, PRESETS
from .shared import (
    add_batch,
    add_data,
    add_detection_rule,
    add_device,
    add_min_score,
    add_overwrite,
    add_sides,
    add_val_fraction,
    add_validation,
    add_weights,
    add_workers,
)
from .texts import LAYOUT, SHOW, TRAIN
from .training import add_model, add_recipe
from .types import POSITIVE, PROBABILITY, SEED, THREADS, Number

_Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _add_train(subparsers: _Subparsers) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a detector",
        usage="%(prog)s (--data DIR | --annotations FILE --images DIR) --output DIR [options] "
        "[KEY=VALUE ...]",
        description=TRAIN,
        epilog=LAYOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data(parser, "train")
    add_validation(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from last.pth in the output folder, with its model and recipe; "
        "options given as well change the recipe",
    )
    help_text = "values of this file, such as config.json of another run, in place of the defaults"
    parser.add_argument("--config", metavar="FILE", help=help_text)
    add_model(parser.add_argument_group("model"))
    add_recipe(parser.add_argument_group("recipe"))
    add_device(parser)
    add_workers(parser)
    parser.set_defaults(command="train", wrong_usage=parser.error)


def _add_eval(subparsers: _Subparsers) -> None:
    parser = subparsers.add_parser(
        "eval",
        help="COCO average precision of a checkpoint, of each class and of all",
        description="Evaluate a checkpoint by COCO's metrics. The processes that torchrun starts "
        "share the images:\ntorchrun --nproc-per-node N -m fcos eval ...",
        epilog=LAYOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data(parser, "val")
    help_text = (
        "evaluate what `fcos train --val-fraction SHARE` did not train on, of the part train"
    )
    add_val_fraction(parser, help_text)
    add_weights(parser)
    add_batch(parser)
    add_sides(parser)
    parser.add_argument("--output", metavar="FILE", help="also write the detections as COCO JSON")
    parser.add_argument(
        "--draw", metavar="DIR", help="also draw truth beside detections, as `fcos show` does"
    )
    add_overwrite(parser, "draw into folders that hold such pictures")
    help_text = "also draw precision-recall curves and confusions of classes"
    parser.add_argument("--plots", metavar="DIR", help=help_text)
    add_min_score(parser, "drawn")
    help_text = "evaluate detections from this score on (default: as trained)"
    parser.add_argument("--score-threshold", type=PROBABILITY, metavar="SCORE", help=help_text)
    add_detection_rule(parser)
    help_text = "which package evaluates; all agree (default: the fastest that is installed)"
    parser.add_argument("--evaluator", choices=EVALUATOR_NAMES, help=help_text)
    add_device(parser)
    add_workers(parser)
    parser.set_defaults(command="evaluate")


def _add_show(subparsers: _Subparsers) -> None:
    parser = subparsers.add_parser(
        "show",
        help="draw annotations beside detections",
        description=SHOW,
        epilog=LAYOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data(parser, "val")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--weights", metavar="FILE", help="detector to show (default: none)")
    help_text = "detections to show, as `fcos eval --output FILE` writes them"
    source.add_argument("--results", metavar="FILE", help=help_text)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the pictures")
    add_overwrite(parser, "write into a folder that holds such pictures")
    help_text = "data: as they are listed (default); worst: those with the most errors first"
    parser.add_argument("--sort", choices=("data", "worst"), default="data", help=help_text)
    help_text = "draw only the first N, once sorted (default: all)"
    parser.add_argument("--pictures", type=POSITIVE, metavar="N", help=help_text)
    add_min_score(parser, "shown", "--score-threshold")
    add_detection_rule(parser)
    add_batch(parser)
    add_sides(parser)
    add_device(parser)
    add_workers(parser)
    parser.set_defaults(command="show")


def _add_detect(subparsers: _Subparsers) -> None:
    parser = subparsers.add_parser(
        "detect",
        help="detect on image files and draw the result",
        description="Detect on images, such as the frames of a video; numbers in their names give "
        "the order. Writes into the output folder a picture an image, detections.json, and "
        "results.json in COCO's result format. An image that cannot be read is listed with its "
        "error, and the exit status is then 1.",
    )
    help_text = "a file, a folder with all images below it, or a pattern in quotes"
    parser.add_argument("images", nargs="+", metavar="IMAGE", help=help_text)
    add_weights(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the results")
    add_overwrite(parser, "write into a folder that holds another run")
    add_min_score(parser, "detections", "--score-threshold")
    help_text = "write only the JSON files"
    parser.add_argument("--no-pictures", action="store_true", help=help_text)
    parser.add_argument(
        "--annotations",
        metavar="FILE",
        help="take image_id, and the size that boxes refer to, from this file in COCO format, by "
        "file names (default: the number that a name is, such as 139 of 000000000139.jpg, or the "
        "name; where two would be equal, the place in detections.json, from 1)",
    )
    add_detection_rule(parser)
    add_batch(parser, ", if of one size")
    help_text = "threads that read images and draw pictures (default %(default)s: min(8, cores))"
    parser.add_argument("--workers", type=THREADS, default=Launch().cores, help=help_text)
    add_sides(parser)
    add_device(parser)
    parser.set_defaults(command="detect")


def _add_convert(subparsers: _Subparsers) -> None:
    parser = subparsers.add_parser(
        "convert",
        help="make a checkpoint of another program's FCOS",
        description="Convert weights of torchvision, fcos_core, AdelaiDet, detectron2 or "
        "mmdetection. The checkpoint holds all that the network needs to detect as it did there; "
        "what is assumed, as the file does not say it, is printed.",
    )
    parser.add_argument("input", metavar="IN", help="file of weights")
    parser.add_argument("output", metavar="OUT", help="checkpoint to write")
    parser.add_argument("--layout", choices=LAYOUT_NAMES, help="default: recognised")
    help_text = "published variant, where the layout has several"
    parser.add_argument("--preset", choices=PRESETS, help=help_text)
    help_text = "annotation file that it was trained with (default COCO's 80)"
    parser.add_argument("--categories", metavar="FILE", help=help_text)
    add_overwrite(parser, "replace a file OUT")
    parser.set_defaults(command="convert")


def _add_census(subparsers: _Subparsers) -> None:
    parser = subparsers.add_parser(
        "data",
        help="say what a data set holds, and draw some of it",
        description="Print images, sizes, boxes of each class and odd values of every part of a "
        "data set, and draw annotated images of each.",
        epilog=LAYOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data(parser, "all", positional=True)
    parser.add_argument("--output", metavar="FILE", help="PNG to draw annotated images into")
    help_text = "drawn of each part (default %(default)s)"
    parser.add_argument("--pictures", type=POSITIVE, default=12, metavar="N", help=help_text)
    add_overwrite(parser, "replace a file of --output")
    parser.set_defaults(command="data")


def _add_scenes_and_demo(subparsers: _Subparsers) -> None:
    parser = subparsers.add_parser("scenes", help="write a small data set of shapes")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--train", type=POSITIVE, default=1000, help="images (default %(default)s)")
    parser.add_argument("--val", type=POSITIVE, default=200, help="images (default %(default)s)")
    size = Number(int, 16, 100_000)  # smaller ones have no room for shapes
    parser.add_argument("--size", type=size, default=192, help="side, pixels (default %(default)s)")
    parser.add_argument("--seed", type=SEED, default=0)
    parser.set_defaults(command="scenes")

    parser = subparsers.add_parser(
        "demo", help="check the ops, train on scenes, evaluate, draw; minutes on two cores"
    )
    parser.add_argument("--output", default="out", metavar="DIR", help="default %(default)s")
    parser.add_argument("--seed", type=SEED, default=0)
    parser.set_defaults(command="demo")


class _Version(argparse.Action):
    """Reads the version of the installed package, but only where it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"fcos_ops {metadata.version('fcos_ops')}")
        parser.exit()


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fcos", description="FCOS detector on fcos_ops.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print it and end")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(subparsers)
    _add_eval(subparsers)
    _add_census(subparsers)
    _add_show(subparsers)
    _add_detect(subparsers)
    _add_convert(subparsers)
    _add_scenes_and_demo(subparsers)
    return parser
