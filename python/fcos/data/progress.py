"""A word to the user before a long reading begins."""

from __future__ import annotations

import sys
from pathlib import Path

_LARGE_FILE = 20e6  # bytes, some tenths of a second of a usual machine
_MANY_FILES = 2000


def say_large(file: Path) -> None:
    """Where an annotation file is large."""
    if file.is_file() and (size := file.stat().st_size) > _LARGE_FILE:
        print(f"fcos: reading {file}, {size / 1e6:.0f} MB", file=sys.stderr, flush=True)


def say_many(count: int, what: str, folder: Path) -> None:
    """Where a file an image is read, and there are many."""
    if count > _MANY_FILES:
        print(f"fcos: reading {count} {what} in {folder}", file=sys.stderr, flush=True)
