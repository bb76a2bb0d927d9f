"""Pascal VOC: an XML file an image, as VOC, CVAT, datumaro, Roboflow and LabelImg have it."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path

from ..errors import UserError, brief
from .annotations import Annotations, Entry, plain_annotation
from .folders import images_by_stem, read_lines
from .part import Part, Parts
from .part_names import usual_name
from .progress import say_many
from .refusals import Refusals
from .voc_xml import VocImage, read_xml

_EVERY_SET = "trainval"  # a list of VOC besides those of a usual name
_ALL = "all"  # the part of a folder that has no parts


class _Files:
    """The XML files of a data set, which are read once for all its parts, as these share their
    classes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def images(self) -> dict[Path, VocImage]:
        """By file. Raises UserError where one makes no sense."""
        paths = sorted(self.root.rglob("*.xml"))
        say_many(len(paths), "XML files", self.root)
        refusals, images = Refusals(), {}
        for path in paths:
            try:
                images[path] = read_xml(path)
            except UserError as error:
                refusals.add(error)
        refusals.check()
        return images


def voc_parts(root: Path) -> Parts:
    """Annotations/*.xml with JPEGImages/ and lists in ImageSets/Main/, or *.xml beside the images
    in folders of the parts or in one."""
    xml = _Files(root)
    labels = root / "Annotations"
    if any(labels.rglob("*.xml")):
        folders = [root / "JPEGImages", root / "images"]  # the second is Label Studio's
        images = next((folder for folder in folders if folder.is_dir()), None)
        if images is None:
            raise FileNotFoundError(f"image folder not found: no {folders[0]} and no {folders[1]}")
        lists = {file.stem: file for file in sorted(root.glob("ImageSets/Main/*.txt"))}
        names = [n for n in lists if usual_name(n) or n == _EVERY_SET or len(lists) == 1]
        if not names:
            return {_ALL: partial(_read, xml, _ALL, labels, images)}
        return {name: partial(_read, xml, name, labels, images, lists[name]) for name in names}
    parts: Parts = {}
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and any(folder.glob("*.xml")):
            parts[folder.name] = partial(_read, xml, folder.name, folder, folder)
    if not parts and any(root.glob("*.xml")):
        parts[_ALL] = partial(_read, xml, _ALL, root, root)
    return parts


def _read(xml: _Files, name: str, labels: Path, images: Path, listed: Path | None = None) -> Part:
    """The images of a list, or of all XML files in a folder; the classes are those of all parts."""
    files = {
        path.relative_to(labels).with_suffix("").as_posix(): image
        for path, image in xml.images.items()
        if labels in path.parents
    }
    names = sorted({item.name for image in xml.images.values() for item in image.objects})
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
