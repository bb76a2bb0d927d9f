"""`fcos detect`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..detection.image_ids import ListedImage, ids_of_names, images_of_file
from ..detection.inputs import describe, find_images
from ..files import check_there


def run(options: argparse.Namespace) -> int:
    """Returns 1 where some of the images could not be read."""
    paths, left_out = find_images(options.images, outside=Path(options.output))
    if left_out:
        print(f"left out: {describe(left_out)}", flush=True)
    listed = (
        [ListedImage(number, None) for number in ids_of_names(paths)]
        if options.annotations is None
        else images_of_file(paths, options.annotations)
    )
    check_there(options.weights, "file of weights")
    # here, as they import torch, which takes seconds
    from ..detection.files import REPORT_NAME, RESULTS_NAME, detect_files, plan_files
    from .detection_rule import apply_options
    from .detectors import model_of, preprocessing_of
    from .devices import choose_device

    files = plan_files(
        paths,
        listed,
        options.output,
        pictures=not options.no_pictures,
        overwrite=options.overwrite,
    )
    model = model_of(options, choose_device(options.device))
    apply_options(model, options)
    found = detect_files(
        model,
        files,
        preprocessing_of(options, model),
        options.output,
        min_score=options.min_score,
        batch=options.batch,
        workers=options.workers,
        progress=True,
    )
    print(f"{found.images} images, {found.objects} objects from {options.min_score:g} on")
    report = Path(options.output, REPORT_NAME)
    if found.failed:
        print(f"{found.failed} files could not be read: their errors are in {report}")
    pictures = "" if options.no_pictures else f" and {found.images} pictures beside it"
    print(f"wrote {report}, {RESULTS_NAME}{pictures}")
    return 1 if found.failed else 0
