"""`fcos scenes`."""

from __future__ import annotations

import argparse

from ..scenes import write_scenes


def run(options: argparse.Namespace) -> None:
    write_scenes(
        options.output,
        train=options.train,
        val=options.val,
        size=options.size,
        seed=options.seed,
        progress=True,
    )
    print(f"wrote {options.train} + {options.val} scenes into {options.output}")
