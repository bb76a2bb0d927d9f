"""Groups of options that several commands have."""

from __future__ import annotations

import argparse

from .types import DETECTIONS, FRACTION, LEFT_OUT, POSITIVE, PROBABILITY, SIDE, WORKERS


def add_data(parser: argparse.ArgumentParser, split: str, *, positional: bool = False) -> None:
    """The options that `given_data` reads; --split and --limit have no attribute if left out.

    positional: --data may also be written without its name.
    """
    source = parser.add_mutually_exclusive_group(required=True)
    help_text = "folder of a data set, see below"
    source.add_argument("--data", metavar="DIR", help=help_text)
    if positional:
        help_text = "the same as --data DIR"
        source.add_argument("data", metavar="DIR", nargs="?", help=help_text, default=LEFT_OUT)
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


def add_weights(parser: argparse.ArgumentParser) -> None:
    help_text = "detector: a checkpoint of `fcos train` or `convert`, or weights of torchvision"
    parser.add_argument("--weights", required=True, metavar="FILE", help=help_text)


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
