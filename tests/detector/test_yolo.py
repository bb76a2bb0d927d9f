"""YOLO folders: names, label lines, and what is refused by file, line and field."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fcos.data import annotated, yolo
from fcos.data.annotated import AnnotatedImages
from fcos.data.forms import read_part
from fcos.data.images import image_size
from fcos.data.refusals import RefusedEntries
from fcos.errors import UserError
from PIL import ExifTags, Image

from .forms_by_hand import yolo_folders

LABELS = "labels/train/a.txt"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    yolo_folders(tmp_path)
    return tmp_path


def _boxes(root: Path) -> list[list[float]]:
    annotated = AnnotatedImages(read_part(root, "train"))
    return [entry["bbox"] for entry in annotated.annotations(0)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 .5 .5 .1 .1", "class must be one of '0 ball', '1 cup', got '2'"),
        ("ball .5 .5 .1 .1", "class must be one of '0 ball', '1 cup', got 'ball'"),
        ("-1 .5 .5 .1 .1", "class must be one of"),
        ("0 20 15 12 10", "x_center must be a share of the image from 0 to 1, got '20'"),
        ("0 .5 .5 -.1 .1", "width must be a share of the image from 0 to 1, got '-.1'"),
        ("0 .5 nan .1 .1", "y_center must be a share of the image from 0 to 1, got 'nan'"),
        ("0 .5 .5 .1 h", "height must be a share of the image from 0 to 1, got 'h'"),
        ("0 .5 .5 .1", "must have a class and 4 numbers, or the corners of an outline, got 4"),
        ("0 .5 .5 .1 .1 .9", "must have a class and 4 numbers, or the corners of an outline"),
        ("0 .1 .1 .9 .1 .9 7", "field 7 must be a share of the image from 0 to 1, got '7'"),
    ],
)
def test_lines_are_refused_by_their_field(root: Path, line: str, message: str) -> None:
    (root / LABELS).write_text(f"0 .5 .5 .1 .1\n\n{line}\n")
    where = re.escape(f"{root / LABELS}:3")
    with pytest.raises(UserError, match=f"^{where}:? {re.escape(message)}"):
        read_part(root, "train")


def test_values_in_another_spelling(root: Path) -> None:
    (root / LABELS).write_text("\ufeff0.0 5e-1 .5 1.005 .5\r\n", encoding="utf-8")
    (box,) = _boxes(root)
    assert box == pytest.approx([-0.1, 7.5, 40.2, 15])


def test_outlines_are_read_as_the_boxes_around_them(root: Path) -> None:
    (root / LABELS).write_text("0 .25 .1 .75 .3 .5 .9\n1 .1 .1 .9 .1 .9 .5 .1 .5\n")
    assert _boxes(root) == [pytest.approx([10, 3, 20, 24]), pytest.approx([4, 3, 32, 12])]
    notes = AnnotatedImages(read_part(root, "train")).notes
    assert "2 outlines are read as the upright boxes around them" in notes


def test_images_without_a_label_file(root: Path) -> None:
    (root / LABELS).unlink()
    annotated = AnnotatedImages(read_part(root, "train"))
    assert "1 of 2 images have no label file: no boxes" in annotated.notes
    assert annotated.contents.without_boxes == 1
    (root / "labels/train/b.txt").unlink()
    with pytest.raises(FileNotFoundError, match="no label file for any of 2 images: .*a.txt"):
        read_part(root, "train")


def test_classes_without_names(root: Path) -> None:
    (root / "balls.yaml").unlink()
    annotated = AnnotatedImages(read_part(root, "train"))
    assert annotated.class_names == ("0", "1")
    assert any("called by their numbers" in note for note in annotated.notes)


def test_shares_are_of_the_upright_image(root: Path) -> None:
    image = Image.new("RGB", (40, 30))
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = 6
    image.save(root / "images/train/a.png", exif=exif)
    (root / LABELS).write_text("0 .5 .5 1 1\n")
    assert _boxes(root) == [[0, 0, 30, 40]]
    assert AnnotatedImages(read_part(root, "train")).load(0).size == (30, 40)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: []\ntrain: images/train", "names must be a list or a map of class names, got []"),
        ("names: ball\ntrain: images/train", "names must be a list or a map"),
        ("names: {a: ball}\ntrain: images/train", "names must have numbers and text, got 'a'"),
        ("names: [ball, cup]\nnc: 3\ntrain: x", "nc must be 2, as many as names, got '3'"),
        ("names: [ball, cup]\ntrain: photos", "train must lead into"),
        ("names: [ball\ntrain: x", "names must end with a bracket, got '[ball'"),
        ("names:\n  - ball\n  cup\n", "balls.yaml:3 must be a line `- value`, got 'cup'"),
        (
            "train images\nnames: [a]",
            "balls.yaml:1 must be a line `key: value`, got 'train images'",
        ),
    ],
)
def test_names_files_are_refused_by_their_field(root: Path, text: str, message: str) -> None:
    (root / "balls.yaml").write_text(text)
    with pytest.raises((UserError, FileNotFoundError), match=re.escape(message)) as raised:
        read_part(root, "train")
    assert str(root / "balls.yaml") in str(raised.value)


def test_a_list_that_names_an_image_which_is_not_there(root: Path) -> None:
    (root / "train.txt").write_text("./images/train/z.png\n")
    (root / "balls.yaml").write_text("names: [ball, cup]\ntrain: train.txt\n")
    with pytest.raises(FileNotFoundError, match=r"image not found: ./images/train/z.png, as .*txt"):
        read_part(root, "train")


def test_a_folder_called_images_above_the_data_set(tmp_path: Path) -> None:
    """Labels beside the images, below a folder that has nothing to do with them."""
    root = tmp_path / "images" / "set"
    yolo_folders(root)
    for name in ("a", "b"):
        (root / "images" / "train" / f"{name}.png").rename(root / f"{name}.png")
        (root / "labels" / "train" / f"{name}.txt").rename(root / f"{name}.txt")
    (root / "obj.names").write_text("ball\ncup\n")
    (root / "balls.yaml").unlink()
    (root / "train.txt").write_text("data/a.png\ndata/b.png\n")
    assert AnnotatedImages(read_part(root, "train")).contents.boxes == 3


def test_each_image_is_opened_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To turn shares into pixels; those pixels also clip boxes, and say which images are wide."""
    opened: list[Path] = []

    def counted(path: Path) -> tuple[int, int]:
        opened.append(path)
        return image_size(path)

    for module in (yolo, annotated):
        monkeypatch.setattr(module, "image_size", counted)
    images = AnnotatedImages(read_part(root, "train"))
    boxes = sum(len(images.annotations(index)) > 0 for index in range(len(images)))
    assert len(opened) == boxes > 0
    assert images.wide().all()
    assert sorted(opened) == sorted(images.paths)


def test_all_lines_that_make_no_sense_are_counted(root: Path) -> None:
    (root / LABELS).write_text("7 .5 .5 .1 .1\n0 .5 .5 .1 .1\n0 .5 .5 .1\n")
    with pytest.raises(RefusedEntries, match="and 1 more entries") as raised:
        read_part(root, "train")
    assert [message.split(":")[1].split()[0] for message in raised.value.messages] == ["1", "3"]
