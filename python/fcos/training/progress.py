"""The bar of a training run."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

_LOG_SECONDS = 15.0  # between the lines of a bar in a file


def progress_bar(step: int, steps: int, *, shown: bool) -> tqdm[Any]:
    """From a step on, if any are left; moving in a terminal, a line now and then in a file."""
    return tqdm(
        total=steps,
        initial=step,
        disable=not shown or step >= steps,
        unit="step",
        mininterval=0.1 if sys.stderr.isatty() else _LOG_SECONDS,
    )
