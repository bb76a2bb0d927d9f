"""Which image files the arguments of a command mean."""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..data.folders import IMAGE_SUFFIXES
from ..errors import UserError, shorten

VIDEO_SUFFIXES = frozenset(
    ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .webm .wmv".split()
)


class FoundImages(NamedTuple):
    """Files, each once, and how many others the folders hold, by why they are no images."""

    paths: list[Path]
    left_out: dict[str, int]


def find_images(names: Sequence[str], *, outside: Path) -> FoundImages:
    """The files that `names` mean, each a file, a folder with all below it, or a glob pattern.

    Args:
        names: in this order; what a folder or a pattern holds is sorted, frame2 before frame10.
        outside: a folder whose files are passed over where it lies below a folder or pattern.

    Raises:
        FileNotFoundError: names that mean no file; the message has the first and their number.
        UserError: an empty name, a video.
    """
    found: dict[Path, Path] = {}  # by the place that a path leads to
    left_out: Counter[str] = Counter()
    missing = []
    for name in names:
        if not name:
            raise UserError("IMAGE must be a file, a folder or a pattern, got an empty name")
        own = []
        if os.path.isfile(name):
            own = [_no_video(Path(name))]
        else:
            reasons: Counter[str] = Counter()
            for candidate, reason in sorted(_candidates(name, outside.resolve()), key=_by_number):
                if reason:
                    reasons[reason] += 1
                else:
                    own.append(_no_video(candidate))
            left_out += reasons
            if not own:
                what = shorten(name)
                what = f"no images in the folder {what}" if os.path.isdir(name) else what
                missing.append(f"{what} (left out: {describe(reasons)})" if reasons else what)
        for image in own:
            found.setdefault(_place(image), image)
    if missing:
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise FileNotFoundError(f"image not found: {missing[0]}{others}")
    return FoundImages(list(found.values()), dict(left_out))


def describe(left_out: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))


def _no_video(path: Path) -> Path:
    if path.suffix.lower() in VIDEO_SUFFIXES:
        frames = path.with_suffix("")
        command = f"mkdir {shlex.quote(str(frames))} && ffmpeg -i {shlex.quote(str(path))} "
        command += f"-q:v 2 {shlex.quote(f'{frames}/%06d.jpg')}"
        raise UserError(
            f"IMAGE must be an image or a folder of them, got the video {path}: make frames of it "
            f"by {command}, and give their folder"
        )
    return path


def _by_number(candidate: tuple[Path, str]) -> tuple[list[list[str | int]], Path]:
    """A key that sorts numbers within names by their value, and equal ones as they are written."""
    path, _ = candidate
    split = [re.split("([0-9]+)", part) for part in path.parts]
    # every second piece is a number, so that like is compared with like
    return [[int(s) if i % 2 else s for i, s in enumerate(own)] for own in split], path


def _candidates(name: str, outside: Path) -> Iterator[tuple[Path, str]]:
    """What a folder or a pattern holds, each with why it is left out: "" where it is not."""
    folder = Path(name) if os.path.isdir(name) else None
    root = folder or _fixed_part(name)
    passed_over = outside if root.resolve() in outside.parents else None
    for path in folder.rglob("*") if folder else map(Path, glob.glob(name, recursive=True)):
        if folder and path.is_dir() and path.is_symlink():
            yield path, "linked folders"
        elif path.is_file():
            inside = passed_over is not None and passed_over in _place(path).parents
            yield path, "in the output folder" if inside else _why_no_image(path, folder)


def _why_no_image(path: Path, folder: Path | None) -> str:
    if folder is None:  # a pattern says itself what it means
        return ""
    if any(part.startswith(".") for part in path.relative_to(folder).parts):
        return "hidden"
    suffix = path.suffix.lower()
    return "" if suffix in IMAGE_SUFFIXES else suffix or "without a suffix"


def _fixed_part(pattern: str) -> Path:
    """The folder that a pattern starts from."""
    folder = Path(pattern).parent
    while glob.has_magic(str(folder)):
        folder = folder.parent
    return folder


def _place(path: Path) -> Path:
    """One spelling of a path; a link to a file is a file of its own."""
    return path.parent.resolve() / path.name
