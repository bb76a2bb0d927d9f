"""Pascal VOC: an XML file an image, as VOC, CVAT, datumaro, Roboflow and LabelImg have it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ..errors import UserError, brief
from .annotations import Annotations, Entry, plain_annotation
from .folders import images_by_stem, read_lines
from .part import Part, Parts
from .part_names import usual_name
from .progress import say_many
from .voc_xml import VocImage, read_xml

_EVERY_SET = "trainval"  # a list of VOC besides those of a usual name
_ALL = "all"  # the part of a folder that has no parts


def voc_parts(root: Path) -> Parts:
    """Annotations/*.xml with JPEGImages/ and lists in ImageSets/Main/, or *.xml beside the images
    in folders of the parts or in one."""
    labels = root / "Annotations"
    if any(labels.rglob("*.xml")):
        folders = [root / "JPEGImages", root / "images"]  # the second is Label Studio's
        images = next((folder for folder in folders if folder.is_dir()), None)
        if images is None:
            raise FileNotFoundError(f"image folder not found: no {folders[0]} and no {folders[1]}")
        lists = {file.stem: file for file in sorted(root.glob("ImageSets/Main/*.txt"))}
        names = [n for n in lists if usual_name(n) or n == _EVERY_SET or len(lists) == 1]
        if not names:
            return {_ALL: partial(_read, root, _ALL, labels, images)}
        return {name: partial(_read, root, name, labels, images, lists[name]) for name in names}
    parts: Parts = {}
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and any(folder.glob("*.xml")):
            parts[folder.name] = partial(_read, root, folder.name, folder, folder)
    if not parts and any(root.glob("*.xml")):
        parts[_ALL] = partial(_read, root, _ALL, root, root)
    return parts


def _read(root: Path, name: str, labels: Path, images: Path, listed: Path | None = None) -> Part:
    """The images of a list, or of all XML files in a folder; the classes are those of all parts."""
    paths = sorted(labels.rglob("*.xml"))
    say_many(len(paths), "XML files", labels)
    files = {path.relative_to(labels).with_suffix("").as_posix(): read_xml(path) for path in paths}
    others = [read_xml(file) for file in root.rglob("*.xml") if labels not in file.parents]
    names = sorted({item.name for image in [*files.values(), *others] for item in image.objects})
    if not names:
        raise UserError(f"{labels} must hold an object, got {len(files)} XML files without any")
    category_ids = {category: number for number, category in enumerate(names, start=1)}
    found = images_by_stem(images)
    stems = sorted(files) if listed is None else _listed(listed, files)
    entries: list[Entry] = []
    boxes: list[Entry] = []
    for stem in stems:
        own = files.get(stem)
        if own is None and stem not in found:
            raise FileNotFoundError(f"{listed}: {brief(stem)} has neither an XML file nor an image")
        entries.append(_image(stem, own, found))
        for item in own.objects if own else ():
            entry = plain_annotation(stem, category_ids[item.name], item.box, crowd=item.difficult)
            boxes.append({**entry, "attributes": {"rotation": item.rotation}})
    categories = [{"id": i, "name": n} for n, i in category_ids.items()]
    content = Annotations(entries, categories, boxes)
    part = Part(name, "Pascal VOC", listed or labels, content, images)
    return part.noted(*_notes(content, stems, set(files), set(found), listed))


def _listed(file: Path, known: dict[str, VocImage]) -> list[str]:
    """The images that a list names; some lists have a second column."""
    stems = set()
    for line in read_lines(file):
        stems.add(line if line in known else line.split()[0])
    return sorted(stems)


def _image(stem: str, own: VocImage | None, found: dict[str, str]) -> Entry:
    entry: Entry = {"id": stem, "file_name": found.get(stem) or (own and own.file_name) or stem}
    if own and own.size:
        entry["width"], entry["height"] = own.size
    return entry


def _notes(
    content: Annotations, stems: list[str], files: set[str], images: set[str], listed: Path | None
) -> list[str]:
    notes = []
    if without := len(set(stems) - files):
        notes.append(f"{without} of {len(stems)} images have no XML file: no boxes")
    if listed is None and (without := len(images - files)):
        notes.append(f"left out {without} images that have no XML file and are in no list")
    if difficult := sum(annotation["iscrowd"] for annotation in content.annotations):
        notes.append(
            f"{difficult} objects marked difficult are read as crowd: not trained on, and "
            "detections of them count neither way"
        )
    return notes
