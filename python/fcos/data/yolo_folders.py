"""Where the images and the class names of YOLO data sets are said to be: data.yaml, obj.names with
lists, or folders alone."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..errors import UserError, brief
from .folders import list_images, read_lines
from .image_files import by_its_tail
from .part_names import usual_name
from .values import whole
from .yaml_subset import Value, read_yaml

_PLACES = ("train", "val", "valid", "test")
_NAMES_FILES = ("classes.txt", "obj.names")


class YoloFolders(NamedTuple):
    """Class names by number, empty where no file has any, and the places of each part: folders of
    images, or lists of them. `source` is what says so."""

    source: Path
    names: dict[int, str]
    places: dict[str, list[Path]]


def find_yolo(root: Path) -> YoloFolders | None:
    """None where a folder is not of such a data set.

    Raises:
        FileNotFoundError, UserError: data.yaml leads nowhere, or makes no sense.
    """
    for pattern in ("data.y*ml", "*.y*ml"):
        files = sorted(root.glob(pattern))
        if len(files) == 1 and "names" in (content := read_yaml(files[0])):
            return _of_yaml(root, files[0], content)
    names_file = next((root / name for name in _NAMES_FILES if (root / name).is_file()), None)
    if names_file is None:
        places = _folders(root)
        return YoloFolders(root, {}, places) if places else None
    # darknet's lists, as CVAT and datumaro write them
    places = {file.stem: [file] for file in sorted(root.glob("*.txt")) if usual_name(file.stem)}
    places = places or _folders(root)
    names = dict(enumerate(read_lines(names_file)))
    return YoloFolders(names_file, names, places) if places else None


def images_of(root: Path, places: list[Path]) -> list[Path]:
    """The images that folders hold and lists name, each once.

    Raises:
        FileNotFoundError: a listed image is not there.
    """
    found: set[Path] = set()
    for place in places:
        if place.is_dir():
            found.update(list_images(place))
            continue
        for name in read_lines(place):
            path = by_its_tail(name, root)
            if path is None:
                raise FileNotFoundError(f"image not found: {name}, as {place} has it, in {root}")
            found.add(path)
    return sorted(found)


def _of_yaml(root: Path, file: Path, content: dict[str, Value]) -> YoloFolders:
    names = _names(file, content)
    base = content.get("path", "")
    places: dict[str, list[Path]] = {}
    for part in _PLACES:
        listed = content.get(part, [])
        values = [listed] if isinstance(listed, str) else list(listed)
        found = {
            value: _place(root, base if isinstance(base, str) else "", value) for value in values
        }
        lost = [value for value, place in found.items() if place is None]
        if lost and part != "test":  # which Roboflow names whether it is there or not
            raise FileNotFoundError(f"{file}: {part} must lead into {root}, got {brief(lost[0])}")
        if found and not lost:
            places[part] = [place for place in found.values() if place is not None]
    places = places or _folders(root)
    if not places:
        raise UserError(f"{file} must say where the images are, as `train: images/train`")
    return YoloFolders(file, names, places)


def _names(file: Path, content: dict[str, Value]) -> dict[int, str]:
    listed = content["names"]
    if isinstance(listed, str) or not listed:
        raise UserError(
            f"{file}: names must be a list or a map of class names, got {brief(listed)}"
        )
    names: dict[int, str] = {}
    for number, name in listed.items() if isinstance(listed, dict) else enumerate(listed):
        index = whole(number)
        if index is None or index < 0 or not name:
            raise UserError(
                f"{file}: names must have numbers and text, got {brief(number)}: {brief(name)}"
            )
        names[index] = name
    count = content.get("nc")
    if count is not None and whole(count) != len(names):
        raise UserError(f"{file}: nc must be {len(names)}, as many as names, got {brief(count)}")
    return names


def _place(root: Path, base: str, value: str) -> Path | None:
    """Paths are relative to places that only the writer knew: what they end with is looked for."""
    candidates = (root / base / value, root / value, by_its_tail(value, root))
    return next((path for path in candidates if path is not None and path.exists()), None)


def _folders(root: Path) -> dict[str, list[Path]]:
    """images/train/ and labels/train/, train/images/ and train/labels/, or images/ and labels/."""
    images, labels = root / "images", root / "labels"
    if images.is_dir() and labels.is_dir():
        inner = [folder for folder in sorted(images.iterdir()) if folder.is_dir()]
        places = {folder.name: [folder] for folder in inner if usual_name(folder.name)}
        return places or {"all": [images]}
    return {
        folder.name: [folder / "images"]
        for folder in sorted(root.iterdir())
        if (folder / "images").is_dir() and (folder / "labels").is_dir()
    }
