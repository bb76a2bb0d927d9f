"""Where files in COCO format and their images lie, in COCO itself and as tools export them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from .annotations import Annotations, Entry, read_annotations
from .image_files import by_its_tail
from .part import Part, Parts
from .part_names import usual_name
from .progress import say_large

_INSTANCES = "instances_"
_LVIS = re.compile(r"lvis_v\d+(?:\.\d+)?_(.+)")
_ROBOFLOW = "_annotations.coco.json"


def find_split(data: str | os.PathLike[str], split: str) -> tuple[Path, Path]:
    """Annotation file and image folder of a split in one of two layouts.

    COCO's own, annotations/instances_train2017.json + train2017/, and the same without the year,
    annotations/instances_train.json + train/.

    Raises:
        FileNotFoundError: neither is there; the message names the files that were looked for.
    """
    root = Path(data)
    looked = []
    for name in (f"{split}2017", split):
        annotations, images = root / "annotations" / f"{_INSTANCES}{name}.json", root / name
        if annotations.is_file():
            if not images.is_dir():
                raise FileNotFoundError(f"image folder not found: {images}")
            return annotations, images
        looked.append(str(annotations))
    raise FileNotFoundError(f"no annotations for the split {split!r}: no {' and no '.join(looked)}")


def read_coco(file: Path, *folders: Path, form: str = "COCO", name: str = "") -> Part:
    """A part of an annotation file and the first of `folders` that has its first image.

    Raises:
        FileNotFoundError: no such file, or none of the folders.
        UserError: of `read_annotations`.
    """
    say_large(file)
    annotations = read_annotations(file)
    images = _image_folder(folders, annotations.images)
    return Part(name or file.name, form, file, annotations, images, _notes(annotations))


def coco_parts(root: Path) -> Parts:
    """COCO, CVAT, datumaro and LVIS: files in annotations/, images in a folder of the part's name,
    there or in images/, or in images/ itself."""
    parts: Parts = {}
    for file in sorted([*root.glob("annotations/*.json"), *root.glob("lvis_v*.json")]):
        lvis = _LVIS.fullmatch(file.stem)
        if lvis:
            name = lvis[1]
        elif file.stem.startswith(_INSTANCES):
            name = file.stem.removeprefix(_INSTANCES)
        elif usual_name(file.stem):  # annotations/train.json
            name = file.stem
        else:
            continue
        folders = [root / name, root / "images" / name, root / "images", root]
        form = "LVIS" if lvis else "COCO"
        parts.setdefault(name, partial(read_coco, file, *folders, form=form, name=name))
    return parts


def roboflow_parts(root: Path) -> Parts:
    """Roboflow: _annotations.coco.json beside the images of train/, valid/ and test/, or of one
    folder."""
    parts: Parts = {}
    for file in sorted([*root.glob(_ROBOFLOW), *root.glob(f"*/{_ROBOFLOW}")]):
        name = file.parent.name if file.parent != root else "train"
        parts[name] = partial(read_coco, file, file.parent, form="Roboflow", name=name)
    return parts


def one_file_parts(root: Path) -> Parts:
    """Label Studio's result.json, or the only JSON file of a folder, with images in or below it."""
    files = sorted(root.glob("*.json"))
    result = root / "result.json"
    file = result if result in files else files[0] if len(files) == 1 else None
    if file is None:
        return {}
    form = "Label Studio" if file == result else "COCO"
    folders = [root / "images", root]
    return {file.stem: partial(read_coco, file, *folders, form=form, name=file.stem)}


def without_root_category(part: Part) -> Part:
    """The part without the category 0 that Roboflow writes above all others and never uses."""
    categories = part.annotations.categories
    first, others = categories[0], categories[1:]
    named_by_others = bool(others) and all(
        category.get("supercategory") == first["name"] for category in others
    )
    if first["id"] != 0 or first.get("supercategory") != "none" or not named_by_others:
        return part
    if any(annotation["category_id"] == first["id"] for annotation in part.annotations.annotations):
        return part
    return part._replace(annotations=part.annotations._replace(categories=others)).noted(
        f"left out the category 0, {first['name']!r}, which has no box and is above all others: "
        "--keep-root-category keeps it"
    )


def _image_folder(folders: Sequence[Path], images: Sequence[Entry]) -> Path:
    there = [folder for folder in folders if folder.is_dir()]
    if images:
        name = images[0]["file_name"]
        for folder in there:
            if os.path.isfile(folder / name):
                return folder
        for folder in there:  # a name of another machine
            tail = by_its_tail(name, folder)
            if tail is not None and tail.is_file():
                return folder
    if not there or (len(folders) > 1 and there == [folders[-1]]):
        looked = " and no ".join(map(str, folders[:-1] or folders))
        raise FileNotFoundError(f"image folder not found: no {looked}")
    return there[0]


def _notes(annotations: Annotations) -> tuple[str, ...]:
    if "neg_category_ids" in annotations.image_fields:
        return (
            "LVIS labels no object of most categories in most images: training takes them for "
            "background, and COCO's evaluation counts detections of them as wrong",
        )
    return ()
