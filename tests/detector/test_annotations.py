"""Annotation files as exporters write them: each odd value is read right or refused by its name."""

from __future__ import annotations

import codecs
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from fcos.data import CocoDataset
from fcos.data.annotations import read_annotations
from fcos.data.refusals import RefusedEntries
from fcos.errors import UserError
from fcos.evaluation.average_precision import coco_metrics
from PIL import Image

GOOD: dict[str, Any] = {
    "categories": [{"id": 3, "name": "ball"}, {"id": 7, "name": "cup"}],
    "images": [{"id": 1, "file_name": "1.png", "width": 32, "height": 24}],
    "annotations": [
        {"id": 0, "image_id": 1, "category_id": 7, "bbox": [4, 6, 20, 10], "iscrowd": 0, "area": 90}
    ],
}
ODD = [
    *(None, "", "0", "1", "7", "x", "2.5", "nan", True, False, [], {}, [1], {"a": 1}),
    *(0, -1, 1, 2.5, 1e308, -1e308, 10**400, float("nan"), float("inf"), "\ud800", "a\0b"),
    *([None] * 4, ["1", "2", "3", "4"], [1, 2, 3], [1, 2, -3, 4], [1e308] * 4, "é" * 100),
]


def _write(folder: Path, content: object) -> Path:
    Image.new("RGB", (32, 24)).save(folder / "1.png")
    path = folder / "instances.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def _with(key: str, field: str, *value: object) -> dict[str, Any]:
    """GOOD with another value in the first entry of a list, or without the field."""
    content = copy.deepcopy(GOOD)
    del content[key][0][field]
    if value:
        content[key][0][field] = value[0]
    return content


def _without_area(box: list[float]) -> dict[str, Any]:
    content = _with("annotations", "area")
    content["annotations"][0].update(bbox=box, category_id=3)
    return content


def _with_category_1(value: object) -> dict[str, Any]:
    content = _with("categories", "id", 1)
    content["annotations"][0]["category_id"] = value
    return content


def _read(folder: Path, content: object) -> dict[str, Any]:
    return read_annotations(_write(folder, content)).annotations[0]


@pytest.mark.parametrize("value", [(), (None,), ("",), ("0",), (0.0,), (False,)])
def test_iscrowd_that_means_no(tmp_path: Path, value: tuple[object, ...]) -> None:
    assert _read(tmp_path, _with("annotations", "iscrowd", *value))["iscrowd"] == 0


@pytest.mark.parametrize("value", ["1", 1.0, True])
def test_iscrowd_that_means_yes(tmp_path: Path, value: object) -> None:
    assert _read(tmp_path, _with("annotations", "iscrowd", value))["iscrowd"] == 1


@pytest.mark.parametrize(
    ("value", "area"), [((), 200), ((None,), 200), (("",), 200), (("90.5",), 90.5), ((0,), 0)]
)
def test_area(tmp_path: Path, value: tuple[object, ...], area: float) -> None:
    assert _read(tmp_path, _with("annotations", "area", *value))["area"] == area


def test_numbers_in_quotes_are_numbers(tmp_path: Path) -> None:
    content = copy.deepcopy(GOOD)
    content["categories"][1]["id"] = "7"
    content["images"][0].update(width="32", height=24.0)
    content["annotations"][0].update(bbox=["4", "6.0", 20, 10.5], image_id=1.0)
    dataset = CocoDataset(_write(tmp_path, content), tmp_path)
    assert dataset.category_ids == (3, 7)
    sample = dataset.sample(0)
    assert sample.labels.tolist() == [1] and sample.original_size == (24, 32)
    assert dataset.ground_truth()["annotations"][0]["bbox"] == [4, 6, 20, 10.5]


def test_ids_of_images_may_be_strings(tmp_path: Path) -> None:
    content = _with("images", "id", "0001")
    content["annotations"][0]["image_id"] = "0001"
    dataset = CocoDataset(_write(tmp_path, content), tmp_path)
    assert dataset.sample(0).image_id == "0001" and dataset.contents.boxes == 1
    truth = dataset.ground_truth()
    result = {"image_id": "0001", "category_id": 7, "bbox": [4, 6, 20, 10], "score": 1.0}
    assert coco_metrics(truth, [result])["AP"] == pytest.approx(1)


def test_ids_of_images_are_of_one_type(tmp_path: Path) -> None:
    content = copy.deepcopy(GOOD)
    content["images"].append({**content["images"][0], "id": "2"})
    with pytest.raises(UserError, match=r"images\[1\].id must be of one type .* 1, got '2'"):
        read_annotations(_write(tmp_path, content))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    path = _write(tmp_path, GOOD)
    path.write_text(path.read_text(), encoding=encoding)
    assert path.read_bytes().startswith(
        (codecs.BOM_UTF8, codecs.BOM_UTF16, codecs.BOM_UTF32)
    )  # else this tests nothing
    assert read_annotations(path).categories == GOOD["categories"]


@pytest.mark.parametrize("more", [{}, {"annotations": None}, {"annotations": []}])
def test_annotations_may_be_missing(tmp_path: Path, more: dict[str, object]) -> None:
    content = {k: v for k, v in GOOD.items() if k != "annotations"}
    dataset = CocoDataset(_write(tmp_path, {**content, **more}), tmp_path)
    assert str(dataset.contents) == "1 images, 1 without boxes, 0 boxes; left out: none"


def test_name_of_a_category_may_be_missing(tmp_path: Path) -> None:
    for value in [(), (None,)]:
        content = _with("categories", "name", *value)
        assert CocoDataset(_write(tmp_path, content), tmp_path).class_names == ("3", "cup")


@pytest.mark.parametrize("box", [None, []])
def test_annotations_without_a_box_are_left_out(tmp_path: Path, box: object) -> None:
    """labelme2coco writes `[]` for lines and points."""
    content = copy.deepcopy(GOOD)
    content["annotations"].insert(0, {**GOOD["annotations"][0], "bbox": box})
    dataset = CocoDataset(_write(tmp_path, content), tmp_path)
    expected = "1 images, 0 without boxes, 1 boxes; left out: 1 without a box"
    assert str(dataset.contents) == expected
    assert [a["bbox"] for a in dataset.ground_truth()["annotations"]] == [[4, 6, 20, 10]]
    content["annotations"].append({**GOOD["annotations"][0], "image_id": 9})
    with pytest.raises(UserError, match=r"annotations\[2\].image_id must .* so do 1 of 3"):
        CocoDataset(_write(tmp_path, content), tmp_path)


def test_all_refused_entries_are_looked_for(tmp_path: Path) -> None:
    content = copy.deepcopy(GOOD)
    good = content["annotations"][0]
    content["annotations"] = [{**good, "bbox": [position]} for position in range(30)]
    content["annotations"][7] = good
    with pytest.raises(
        RefusedEntries, match=r"annotations\[0\].bbox must be .* got \[0\]"
    ) as raised:
        read_annotations(_write(tmp_path, content))
    assert str(raised.value).endswith(" (and 28 more entries: `fcos data` lists them)")
    assert raised.value.count == 29 and len(raised.value.messages) == 20
    assert raised.value.messages[7].endswith("got [8]")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a JSON file"),
        ("[" * 100_000, "not a JSON file"),
        ("\ufeff\ufeff{}", "not a JSON file"),
        ("[]", r"must be a COCO detection file, got \[\]"),
        ("{}", "it has no list 'categories'"),
        ({**GOOD, "images": {}}, "it has no list 'images'"),
        ({**GOOD, "images": [3]}, r"images\[0\] must be an object, got 3"),
        ({**GOOD, "categories": []}, "at least one category"),
        ({**GOOD, "categories": [], "annotations": []}, "at least one category"),
        ({**GOOD, "images": [], "annotations": []}, "at least one image"),
        ({**GOOD, "categories": GOOD["categories"] * 2}, "categories with the same id 3"),
        ({**GOOD, "images": GOOD["images"] * 2}, "images with the same id 1"),
        (_with("images", "file_name"), r"images\[0\].file_name must be the name .*, got nothing"),
        (_with("images", "file_name", None), r"images\[0\].file_name must be .*, got None"),
        (_with("images", "file_name", "a\0b"), r"images\[0\].file_name must be .*, got 'a\\x00b'"),
        (_with("images", "file_name", "\ud800"), r"images\[0\].file_name must be the name"),
        (_with("images", "width", 0), r"images\[0\].width must be a positive .*, got 0"),
        (_with("images", "width"), r"images\[0\].width must be given where the other side is"),
        (_with("annotations", "bbox"), r"annotations\[0\].bbox must be four .*, got nothing"),
        (_with("annotations", "bbox", [1]), r"annotations\[0\].bbox must be four finite numbers"),
        (
            _with("annotations", "bbox", [1, 2, -3, 4]),
            r"annotations\[0\].bbox must be .*width >= 0",
        ),
        (_with("annotations", "bbox", [0, 0, 1, float("nan")]), r"bbox must be .*, got .*nan"),
        (_with("annotations", "area", -1), r"annotations\[0\].area must be .*, got -1"),
        (_with("annotations", "area", 2e10), r"area must be a number from 0 to 1e\+10, .*, got 2"),
        (
            _without_area([0, 0, 1e200, 1e200]),
            r"annotations\[0\].bbox must be of at most 1e\+10 square pixels, or have an `area`",
        ),
        (_with_category_1(True), r"annotations\[0\].category_id must be one of .*, got True"),
        (_with("images", "width", True), r"images\[0\].width must be a positive .*, got True"),
        (_with("images", "file_name", "x" * 5000), r"image not found: .*/xxx"),
        (_with("annotations", "area", "big"), r"annotations\[0\].area must be .*, got 'big'"),
        (_with("annotations", "iscrowd", 2), r"annotations\[0\].iscrowd must be 0 or 1"),
        (_with("annotations", "iscrowd", "no"), r"annotations\[0\].iscrowd must be .*, got 'no'"),
        (_with("annotations", "category_id", 99), r"annotations\[0\].category_id .*, got 99"),
        (_with("annotations", "image_id", None), r"annotations\[0\].image_id must be .*, got None"),
        (_with("categories", "id", "cat"), r"categories\[0\].id must be .*, got 'cat'"),
        (_with("categories", "name", ["a"]), r"categories\[0\].name must be text"),
    ],
)
def test_refused_by_entry_and_field(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises((UserError, FileNotFoundError), match=message) as raised:
        CocoDataset(_write(tmp_path, content), tmp_path)
    assert str(tmp_path) in str(raised.value)
    assert len(str(raised.value)) < len(str(tmp_path)) + 300 and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("key", "field"), [(key, field) for key in GOOD for field in [*GOOD[key][0], "extra"]]
)
def test_no_value_of_any_field_ends_otherwise(tmp_path: Path, key: str, field: str) -> None:
    """What is not refused can be trained on and evaluated."""
    outcomes = set()
    for value in ODD:
        content = copy.deepcopy(GOOD)
        content[key][0][field] = value
        try:
            dataset = CocoDataset(_write(tmp_path, content), tmp_path, limit=1)
            boxes = dataset.sample(0).boxes
        except (UserError, FileNotFoundError) as error:
            outcomes.add(type(error).__name__)
        else:
            outcomes.add("read")
            assert len(boxes) == dataset.contents.boxes and boxes.isfinite().all()
            result = {
                "image_id": dataset.annotated.images[0]["id"],
                "bbox": [0, 0, 9, 9],
                "score": 0.5,
            }
            metrics = coco_metrics(dataset.ground_truth(), [{**result, "category_id": 7}])
            assert all(-1 <= metric <= 1 for metric in metrics.values())
    assert outcomes  # nothing else was raised
