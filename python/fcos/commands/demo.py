"""`fcos demo`."""

from __future__ import annotations

import argparse

from .. import demo


def run(options: argparse.Namespace) -> None:
    demo.run(options.output, seed=options.seed)
