"""Where the images and the class names of YOLO data sets are said to be: data.yaml, obj.data, or
folders alone."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..errors import UserError, a_few, brief
from .folders import list_images
from .image_files import by_its_tail
from .part_names import usual_name
from .values import whole
from .yaml_subset import Value, read_yaml

_PLACES = ("train", "val", "valid", "test")
_NAMES_FILES = ("classes.txt", "obj.names")


class YoloFolders(NamedTuple):
    """Class names by number, empty where no file has any, and the places of each part: folders of
    images, or lists of them."""

    source: Path
    names: dict[int, str]
    places: dict[str, list[Path]]


def find_yolo(root: Path) -> YoloFolders | None:
    """None where a folder is not of such a data set."""
    for pattern in ("data.y*ml", "dataset.y*ml", "*.y*ml"):
        files = sorted(root.glob(pattern))
        if len(files) == 1:
            content = read_yaml(files[0])
            if "names" in content:
                return _of_yaml(root, files[0], content)
    names_file = next((root / name for name in _NAMES_FILES if (root / name).is_file()), None)
    names = _read_lines(names_file) if names_file else []
    places = _listed(root) if names_file else {}
    places = places or _folders(root)
    if not places:
        return None
    return YoloFolders(names_file or root, dict(enumerate(names)), places)


def images_of(root: Path, places: list[Path]) -> list[Path]:
    """The images that folders hold and lists name, each once.

    Raises:
        FileNotFoundError: a listed image is not there.
    """
    found: dict[Path, None] = {}
    for place in places:
        if place.is_dir():
            found.update(dict.fromkeys(list_images(place)))
            continue
        for name in _read_lines(place):
            path = by_its_tail(name, root)
            if path is None:
                raise FileNotFoundError(f"image not found: {name}, as {place} has it, in {root}")
            found[path] = None
    return sorted(found)


def _of_yaml(root: Path, file: Path, content: dict[str, Value]) -> YoloFolders:
    listed = content["names"]
    items = listed.items() if isinstance(listed, dict) else enumerate(listed)
    names: dict[int, str] = {}
    for number, name in () if isinstance(listed, str) else items:
        index = whole(number)
        if index is None or index < 0 or not name:
            raise UserError(f"{file}: names must have whole numbers and text, got {brief(number)}")
        names[index] = name
    if not names:
        raise UserError(
            f"{file}: names must be a list or a map of class names, got {brief(listed)}"
        )
    count = content.get("nc")
    if count is not None and whole(count) != len(names):
        raise UserError(f"{file}: nc must be {len(names)}, as many as names, got {brief(count)}")
    base = content.get("path", "")
    places = {}
    for part in _PLACES:
        values = content.get(part, [])
        if found := [
            _place(root, file, part, base if isinstance(base, str) else "", value)
            for value in ([values] if isinstance(values, str) else list(values))
        ]:
            places[part] = found
    places = places or _folders(root)
    if not places:
        raise UserError(f"{file} must say where the images are, as `train: images/train`")
    return YoloFolders(file, names, places)


def _place(root: Path, file: Path, part: str, base: str, value: str) -> Path:
    """Paths are relative to places that only the writer knew: what they end with is looked for."""
    for path in (root / base / value, root / value, by_its_tail(value, root)):
        if path is not None and path.exists():
            return path
    raise FileNotFoundError(f"{file}: {part} must be there, got {value!r}, which is not in {root}")


def _listed(root: Path) -> dict[str, list[Path]]:
    """Darknet's lists, as CVAT and datumaro write them: train.txt beside obj.names."""
    return {file.stem: [file] for file in sorted(root.glob("*.txt")) if usual_name(file.stem)}


def _folders(root: Path) -> dict[str, list[Path]]:
    """images/train/ and labels/train/, train/images/ and train/labels/, or images/ and labels/."""
    places: dict[str, list[Path]] = {}
    images, labels = root / "images", root / "labels"
    if images.is_dir() and labels.is_dir():
        inner = [folder for folder in sorted(images.iterdir()) if folder.is_dir()]
        places = {folder.name: [folder] for folder in inner if usual_name(folder.name)}
        return places or {"all": [images]}
    for folder in sorted(root.iterdir()):
        if (folder / "images").is_dir() and (folder / "labels").is_dir():
            places[folder.name] = [folder / "images"]
    return places


def _read_lines(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{file} must be text in UTF-8: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def describe(names: dict[int, str]) -> str:
    return a_few([f"{number} {name}" for number, name in names.items()])
