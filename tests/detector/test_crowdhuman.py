"""CrowdHuman's .odgt: crowds, and what is refused by line and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fcos.cli import main
from fcos.data.annotated import AnnotatedImages
from fcos.data.crowdhuman import read_crowdhuman
from fcos.data.refusals import RefusedEntries
from fcos.errors import UserError

from .forms_by_hand import crowdhuman


@pytest.fixture
def file(tmp_path: Path) -> Path:
    crowdhuman(tmp_path)
    return tmp_path / "annotation_train.odgt"


def _with_box(file: Path, **changes: Any) -> None:
    first, *others = file.read_text().splitlines()
    entry = json.loads(first)
    entry["gtboxes"][1].update(changes)
    file.write_text("\n".join([json.dumps(entry), *others]))


@pytest.mark.parametrize(
    "changes", [{"tag": "mask"}, {"extra": {"ignore": 1}}, {"tag": "mask", "extra": {"ignore": 1}}]
)
def test_masks_and_boxes_to_ignore_are_crowd(file: Path, changes: dict[str, Any]) -> None:
    _with_box(file, **changes)
    annotated = AnnotatedImages(read_crowdhuman(file, file.parent))
    assert [entry["iscrowd"] for entry in annotated.annotations(0)] == [0, 1]
    assert any(note.startswith("1 boxes to ignore and masks") for note in annotated.notes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tag": "dog"}, r":1: gtboxes\[1\].tag must be 'person' or 'mask', got 'dog'"),
        ({"fbox": None}, r":1: gtboxes\[1\].fbox must be four finite numbers .*, got None"),
        ({"fbox": [0, 0, -1, 2]}, r":1: gtboxes\[1\].fbox must be .* got \[0, 0, -1, 2\]"),
    ],
)
def test_boxes_are_refused_by_line_and_field(
    file: Path, changes: dict[str, Any], message: str
) -> None:
    _with_box(file, **changes)
    with pytest.raises(UserError, match=message):
        read_crowdhuman(file, file.parent)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", ":3: not a JSON object"),
        ("[]", r":3 must be a JSON object, got \[\]"),
        ('{"gtboxes": []}', ":3: ID must be text, each once, got None"),
        ('{"ID": "a"}', ":3: ID must be text, each once, got 'a'"),
        ('{"ID": "z", "gtboxes": 1}', ":3: gtboxes must be a list, got 1"),
        ('{"ID": "z", "gtboxes": [1]}', r":3: gtboxes\[0\].tag must be .*, got 1"),
    ],
)
def test_lines_are_refused_by_their_field(file: Path, line: str, message: str) -> None:
    with file.open("a") as stream:
        stream.write(line)
    with pytest.raises(UserError, match=message):
        read_crowdhuman(file, file.parent)


def test_by_name(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = file.parent / "CrowdHuman_train01"
    assert main(["data", "--annotations", str(file), "--images", str(images)]) == 0
    assert "person 3 boxes in 2 images" in capsys.readouterr().out
    assert main(["data", "--annotations", "no.odgt", "--images", str(images)]) == 2
    assert "annotation file not found: no.odgt" in capsys.readouterr().err
    assert main(["data", "--annotations", str(file), "--images", str(file.parent / "x")]) == 2


def test_all_lines_that_make_no_sense_are_counted(file: Path) -> None:
    with file.open("a") as stream:
        stream.write('[]\n{"ID": "a"}\n')
    with pytest.raises(RefusedEntries, match=r":3 must be a JSON object, got \[\] \(and 1 more"):
        read_crowdhuman(file, file.parent)
