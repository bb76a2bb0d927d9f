"""Pascal VOC: fields of the XML files, lists, and what is refused by file, object and field."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fcos.cli import main
from fcos.data import voc as voc_module
from fcos.data.annotated import AnnotatedImages
from fcos.data.forms import find_parts, read_part
from fcos.data.voc_xml import VocImage, read_xml
from fcos.errors import UserError

from .forms_by_hand import roboflow_voc, voc, xml
from .helpers import SMALL


@pytest.fixture
def root(tmp_path: Path) -> Path:
    voc(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<annotation>", "<annotatio>", "not an XML file: mismatched tag"),
        ("annotation>", "labels>", "must have the root <annotation>, got <labels>"),
        ("<name>ball</name>", "", "object[0].name must be text, got None"),
        ("<name>cup</name>", "<name> </name>", "object[1].name must be text, got ' '"),
        ("<xmin>4</xmin>", "", "object[0].bndbox.xmin must be a finite number, got nothing"),
        ("<xmin>4<", "<xmin>x<", "object[0].bndbox.xmin must be a finite number, got 'x'"),
        ("<ymax>16<", "<ymax>inf<", "object[0].bndbox.ymax must be a finite number, got 'inf'"),
        ("<xmax>16<", "<xmax>3<", "object[0].bndbox.xmax must be at least xmin, 4, got 3"),
        ("<ymax>28<", "<ymax>7<", "object[1].bndbox.ymax must be at least ymin, 8, got 7"),
        (
            "</name>",
            "</name><difficult>2</difficult>",
            "object[0].difficult must be 0 or 1, got '2'",
        ),
    ],
)
def test_refused_by_object_and_field(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "a.xml"
    text = xml("a")
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        read_xml(path)
    assert str(raised.value).startswith(str(path))


@pytest.mark.parametrize(
    ("source", "first_pixel"),
    [
        ("<annotation>PASCAL VOC2012</annotation>", 1),
        ("<database>roboflow.ai</database>", 1),
        ("<database>Unknown</database>", 0),
        ("", 0),
    ],
)
def test_pixels_are_counted_as_the_source_counts_them(
    tmp_path: Path, source: str, first_pixel: int
) -> None:
    path = tmp_path / "a.xml"
    path.write_text(xml("a", first_pixel=first_pixel, source=source))
    assert [item.box for item in read_xml(path).objects] == [[4, 6, 12, 10], [20, 8, 16, 20]]


def test_difficult_objects_are_crowd(root: Path) -> None:
    file = root / "Annotations" / "a.xml"
    file.write_text(file.read_text().replace("<difficult>0", "<difficult>1", 1))
    annotated = AnnotatedImages(read_part(root, "train"))
    assert [entry["iscrowd"] for entry in annotated.annotations(0)] == [1, 0]
    assert any(note.startswith("1 objects marked difficult") for note in annotated.notes)


@pytest.mark.parametrize("size", ["<width>0</width><height>0</height>", "<width>40</width>", ""])
def test_a_size_that_is_not_known_is_that_of_the_image(root: Path, size: str) -> None:
    file = root / "Annotations" / "a.xml"
    text = file.read_text()
    file.write_text(re.sub("<size>.*</size>", f"<size>{size}</size>", text))
    annotated = AnnotatedImages(read_part(root, "train"))
    assert annotated.stated_size(0) is None and annotated.contents.boxes == 3


def test_classes_are_those_of_all_parts(tmp_path: Path) -> None:
    roboflow_voc(tmp_path)
    file = tmp_path / "valid" / "c.xml"
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    end = f"<object><name>apple</name>{box}</object></annotation>"
    file.write_text(file.read_text().replace("</annotation>", end))
    for name in ("train", "valid"):
        categories = read_part(tmp_path, name).annotations.categories
        assert [c["name"] for c in categories] == ["apple", "ball", "cup"]


def test_rotation_is_said_aloud(root: Path) -> None:
    """As CVAT writes it."""
    file = root / "Annotations" / "a.xml"
    rotation = "<attributes><attribute><name>rotation</name><value>30.0</value></attribute>"
    text = file.read_text().replace("</object>", f"{rotation}</attributes></object>", 1)
    file.write_text(text)
    notes = AnnotatedImages(read_part(root, "train")).notes
    assert any(note.startswith("1 of 3 boxes were rotated by their tool") for note in notes)


def test_lists(root: Path) -> None:
    """trainval is a part; lists of single classes are none."""
    (root / "ImageSets" / "Main" / "trainval.txt").write_text("a  1\nb -1\n\nc  0\n")
    assert set(find_parts(root)) == {"train", "trainval", "val"}
    assert len(read_part(root, "trainval").annotations.images) == 3
    (root / "ImageSets" / "Main" / "val.txt").write_text("z\n")
    with pytest.raises(FileNotFoundError, match="val.txt: 'z' has neither an XML file nor an im"):
        read_part(root, "val")


def test_a_list_that_is_no_text(root: Path) -> None:
    (root / "ImageSets" / "Main" / "val.txt").write_bytes(b"c\n\xff")
    with pytest.raises(UserError, match="val.txt must be text in UTF-8"):
        read_part(root, "val")


def test_without_lists_or_objects(root: Path) -> None:
    for file in (root / "ImageSets" / "Main").iterdir():
        file.unlink()
    (root / "Annotations" / "b.xml").unlink()
    part = read_part(root, "train")
    assert len(part.annotations.images) == 2
    assert "left out 1 images that have no XML file and are in no list" in part.notes
    (root / "Annotations" / "a.xml").unlink()
    with pytest.raises(UserError, match="must hold an object, got 1 XML files without any"):
        read_part(root, "train")


def test_each_file_is_read_once_for_all_parts(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read: list[Path] = []

    def counted(file: Path) -> VocImage:
        read.append(file)
        return read_xml(file)

    monkeypatch.setattr(voc_module, "read_xml", counted)
    arguments = ["train", "--data", str(root), "--output", str(root / "run"), *SMALL]
    assert main([*arguments, "--steps", "1", "--eval-every", "1"]) == 0
    out = capsys.readouterr().out
    assert "train: " in out and "val: " in out
    assert sorted(read) == sorted(root.rglob("*.xml"))


def test_all_files_that_make_no_sense_are_listed(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted((root / "Annotations").glob("*.xml"))[:2]
    for file in files:
        file.write_text("<labels/>")
    assert main(["data", str(root), "--split", "train"]) == 2
    errors = capsys.readouterr().err.splitlines()
    end = "must have the root <annotation>, got <labels>"
    assert errors == [f"fcos: error: {file} {end}" for file in files]
