"""`fcos detect`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..detection import detect_files
from ..detection_rule import apply_options
from ..inputs import describe, find_images
from .detectors import model_of, preprocessing_of
from .devices import choose_device


def run(options: argparse.Namespace) -> int:
    """Returns 1 where some of the images could not be read."""
    paths, left_out = find_images(options.images, outside=Path(options.output))
    if left_out:
        print(f"left out: {describe(left_out)}", flush=True)
    model = model_of(options, choose_device(options.device))
    apply_options(model, options)
    found = detect_files(
        model,
        paths,
        preprocessing_of(options, model),
        options.output,
        min_score=options.min_score,
        overwrite=options.overwrite,
        progress=True,
    )
    print(f"{found.images} images, {found.objects} objects from {options.min_score:g} on")
    if found.failed:
        print(f"{found.failed} files could not be read: their errors are in {found.report}")
    print(f"wrote {found.report} and {found.images} pictures beside it")
    return 1 if found.failed else 0
