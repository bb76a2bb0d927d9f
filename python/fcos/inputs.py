"""Which image files the arguments of a command mean."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

# of the files in a folder, those with these names are taken for images
SUFFIXES = frozenset(
    ".avif .bmp .gif .jfif .jp2 .jpeg .jpg .pgm .png .ppm .tif .tiff .webp".split()
)


def find_images(names: Sequence[str], *, outside: Path) -> list[Path]:
    """The files that `names` mean, each a file, a folder with all below it, or a glob pattern.

    Args:
        names: in this order; what a folder or a pattern holds is sorted.
        outside: a folder whose files are passed over where a name does not say them itself.

    Raises:
        FileNotFoundError: names that mean no file; the message has the first and their number.
    """
    found: list[Path] = []
    missing = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            own = sorted(p for p in _images_below(path) if outside not in p.parents)
        elif path.is_file():
            own = [path]
        else:
            own = sorted(p for p in map(Path, glob.glob(name, recursive=True)) if p.is_file())
        found += own
        if not own:
            missing.append(f"no images in the folder {name}" if path.is_dir() else name)
    if missing:
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise FileNotFoundError(f"image not found: {missing[0]}{others}")
    return found


def _images_below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and not hidden and path.is_file():
            yield path
