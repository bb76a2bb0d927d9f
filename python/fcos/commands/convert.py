"""`fcos convert`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..data.annotations import read_categories
from ..errors import UserError
from ..files import check_new, check_replaceable, check_there


def run(options: argparse.Namespace) -> None:
    output = Path(options.output)
    check_replaceable(output)
    if output.exists():
        for path in map(Path, filter(None, [options.input, options.categories])):
            if path.exists() and output.samefile(path):
                raise UserError(f"OUT must be another file than {path}, which would be lost")
    check_new(output, overwrite=options.overwrite)
    check_there(options.input, "file of weights")
    categories = None if options.categories is None else read_categories(options.categories)
    # here, as they import torch, which takes seconds
    from ..detectors import convert_file
    from ..training import save_checkpoint

    model, notes = convert_file(
        options.input, layout=options.layout, preset=options.preset, categories=categories
    )
    for note in notes:
        print(note)
    save_checkpoint(options.output, model)
    print(f"wrote {options.output}")
