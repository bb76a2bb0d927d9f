"""Folders of data sets: which tool's form one has, and its parts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ..errors import UserError, a_few
from .coco import coco_parts, one_file_parts, read_coco, roboflow_parts
from .crowdhuman import crowdhuman_parts, read_crowdhuman
from .part import Part, Parts
from .part_names import choose, usual_name
from .voc import voc_parts
from .yolo import yolo_parts

# asked in this order: the first that finds its files has them
_FORMS: tuple[Callable[[Path], Parts], ...] = (
    coco_parts,
    roboflow_parts,
    voc_parts,
    yolo_parts,
    crowdhuman_parts,
    one_file_parts,
)
_EXPECTED = (
    "annotations/instances_train.json (COCO, CVAT, datumaro), train/_annotations.coco.json "
    "(Roboflow), result.json (Label Studio), lvis_v1_train.json, Annotations/*.xml (Pascal VOC), "
    "data.yaml or images/ and labels/ (YOLO), or annotation_train.odgt (CrowdHuman)"
)

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")


def read_file(file: str | os.PathLike[str], images: str | os.PathLike[str]) -> Part:
    """The part that an annotation file and a folder of images make. Errors: of its form."""
    read = read_crowdhuman if Path(file).suffix.lower() == ".odgt" else read_coco
    return read(Path(file), Path(images))


def read_part(data: str | os.PathLike[str], wanted: str, parts: Parts | None = None) -> Part:
    """The part of a data set that `wanted` means.

    parts: of `find_parts`, where several are read, which may share files.

    Raises:
        FileNotFoundError: no such folder, or it has no such part.
        UserError: a folder of no known form, or files that make no sense.
    """
    parts = parts or find_parts(data)
    name = choose(parts, wanted)
    if name is not None:
        return parts[name]()
    only = next(iter(parts))
    if len(parts) == 1 and usual_name(wanted) == "train" and not usual_name(only):
        return parts[only]().noted(f"{only!r} is the only part of {data}, and taken for {wanted}")
    raise FileNotFoundError(
        f"no part {wanted!r} in {data}, which has {a_few(parts, 6)}: choose one by --split, or "
        "name the files by --annotations FILE --images DIR (for --eval-every: --val-annotations "
        "and --val-images, or --val-fraction)"
    )


def find_parts(data: str | os.PathLike[str]) -> Parts:
    """The parts of a data set by name, each to be read when it is called.

    Raises:
        FileNotFoundError: no such folder.
        UserError: a folder of no known form.
    """
    root = Path(data)
    if root.is_file():
        advice = "unpack it" if root.suffix in _ARCHIVES else f"try --annotations {root}"
        raise UserError(f"--data must be a folder, got the file {root}: {advice}")
    if not root.is_dir():
        raise FileNotFoundError(f"--data must be a folder, got {root}, which is not there")
    if parts := _recognised(root):
        return parts
    advice = "give --annotations FILE --images DIR instead of --data"
    if inner := next(filter(_is_recognised, sorted(root.iterdir())), None):
        advice = f"try --data {inner}"  # archives hold one more folder than some expect
    raise UserError(f"{root} must hold {_EXPECTED}, got {_contents(root)}: {advice}")


def _recognised(root: Path) -> Parts:
    return next((parts for form in _FORMS if (parts := form(root))), {})


def _is_recognised(folder: Path) -> bool:
    try:
        return folder.is_dir() and bool(_recognised(folder))
    except (UserError, OSError):
        return False


def _contents(root: Path) -> str:
    """What a folder holds, in a few words."""
    entries = sorted(root.iterdir())
    folders = [entry.name for entry in entries if entry.is_dir()]
    suffixes = Counter(entry.suffix or "without suffix" for entry in entries if entry.is_file())
    found = [f"{count} {suffix} files" for suffix, count in suffixes.most_common(3)]
    if folders:
        found.insert(0, f"the folders {a_few(folders)}")
    return " and ".join(found) or "nothing"
