"""Images and boxes as columns: entries as they were in the list, in little memory."""

from __future__ import annotations

import gc
import json
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from fcos.data.annotated import AnnotatedImages
from fcos.data.annotations import Annotations, read_annotations
from fcos.data.coco import read_coco
from fcos.data.columns import Boxes, Images, Integers, Paths, Texts
from fcos.errors import UserError
from PIL import Image

CATEGORIES = [{"id": 3, "name": "ball"}, {"id": 7, "name": "cup"}]
Content = dict[str, Any]


def _content(images: int, boxes: int, points: int = 3) -> Content:
    """Images in falling order of ids, some without a size; boxes of an image are not neighbours."""
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", **({"width": 32, "height": 24} if i % 3 else {})}
            for i in range(images, 0, -1)
        ],
        "categories": CATEGORIES[::-1],
        "annotations": [
            {
                "id": i,
                "image_id": i * 7919 % images + 1,
                "category_id": 3 + 4 * (i % 2),
                "bbox": [i % 13 + 0.1, i % 7, 5.25, 4],
                "area": i / 10,
                "iscrowd": int(i % 5 == 0),
                "segmentation": [[12.34, 56.78] * points],
            }
            for i in range(boxes)
        ],
    }


def _written(folder: Path, content: Content) -> Path:
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


def test_texts() -> None:
    texts = Texts(["", "é", "犬.png", "\udcff", "a"])
    assert list(texts) == ["", "é", "犬.png", "\udcff", "a"] and texts[-1] == "a"
    assert list(texts[1:3]) == ["é", "犬.png"] and len(Texts([])) == 0
    with pytest.raises(IndexError):
        texts[5]


def test_integers_of_any_size() -> None:
    numbers = [0, -1, 2**63 - 1, 2**64, 10**400]
    assert list(Integers(numbers)) == numbers and list(Integers(numbers[:3])) == numbers[:3]
    assert type(Integers([5])[0]) is int and Integers(numbers)[1:4][1] == 2**63 - 1


def test_paths() -> None:
    paths = [Path("a/é.png"), Path("/b/\udcff")]
    assert list(Paths(paths)) == paths and Paths(paths)[1:] == paths[1:]


@pytest.mark.parametrize("ids", [[5, 9, 2**70], [5, 9, 11], ["b", "é", "9"]])
def test_images(ids: list[Any]) -> None:
    entries = [
        {"id": ids[0], "file_name": "x", "width": 3, "height": 10**30},
        {"id": ids[1], "file_name": "y"},
        {"id": ids[2], "file_name": "z", "width": 5, "height": 4},
    ]
    images = Images.of([{**entry, "license": 1} for entry in entries])
    assert list(images) == entries and type(images[0]["id"]) is type(ids[0])
    assert list(images[1:]) == entries[1:] and images[1:][1:].places.tolist() == [2]


def test_boxes_of_a_list_of_entries() -> None:
    entries = [
        {
            "image_id": image,
            "category_id": 7,
            "bbox": [1.5, 2, 3, 4],
            "area": 12.0,
            "iscrowd": crowd,
        }
        for image, crowd in [("b", 0), ("a", 1), ("c", 0), ("b", 1)]
    ]
    images = [{"id": "a", "file_name": "a.png"}, {"id": "b", "file_name": "b.png"}]
    _, boxes = Annotations(images, CATEGORIES, entries).columns()
    listed = [entries[0], entries[1], entries[3]]
    assert list(boxes) == listed and boxes[1:3] == listed[1:3]
    assert boxes.unlisted == {2: "c"}
    grouped, starts = boxes.by_image()
    assert list(grouped) == [entries[1], entries[0], entries[3]] and starts.tolist() == [0, 1, 3]


def test_both_readers_read_alike(tmp_path: Path) -> None:
    """NaN, which is no JSON, sends a file to the reader that takes it."""
    content = _content(9, 40)
    images, categories, boxes, fields = read_annotations(_written(tmp_path, content))
    assert isinstance(images, Images) and isinstance(boxes, Boxes)
    assert [image["id"] for image in images] == list(range(1, 10)) and categories == CATEGORIES
    kept = ("image_id", "category_id", "bbox", "area", "iscrowd")
    assert list(boxes) == [{k: entry[k] for k in kept} for entry in content["annotations"]]
    assert fields == {"id", "file_name", "width", "height"}
    other = read_annotations(_written(tmp_path, {**content, "info": float("nan")}))
    assert (list(other.images), list(other.annotations)) == (list(images), list(boxes))


def test_odd_entries_among_plain_ones(tmp_path: Path) -> None:
    content = _content(9, 40)
    plain = list(read_annotations(_written(tmp_path, content)).annotations)
    content["annotations"][3].update(area="0.3", iscrowd=None)
    content["annotations"][5].update(bbox=["5.1", "5", 5.25, "4"], image_id=float(5 * 7919 % 9 + 1))
    content["annotations"][7].update(category_id="7", segmentation=None)
    assert list(read_annotations(_written(tmp_path, content)).annotations) == plain


def _with_images(folder: Path, content: Content) -> Path:
    for image in content["images"]:
        Image.new("1", (32, 24)).save(folder / image["file_name"])
    return _written(folder, content)


def test_annotations_of_each_image(tmp_path: Path) -> None:
    content = _content(9, 40)
    annotated = AnnotatedImages(read_coco(_with_images(tmp_path, content), tmp_path), limit=5)
    assert annotated.ground_truth()["images"][4]["id"] == len(annotated) == 5
    for index in range(5):
        own = [a for a in content["annotations"] if a["image_id"] == index + 1]
        assert [a["bbox"] for a in annotated.annotations(index)] == [a["bbox"] for a in own]
        assert annotated.stated_size(index) == (None if (index + 1) % 3 == 0 else (32, 24))
    assert annotated.contents.boxes == sum(
        len(annotated.boxes(index, 24, 32)[0]) for index in range(5)
    )


def test_memory_is_that_of_the_numbers(tmp_path: Path) -> None:
    """Outlines are most of the file. While it is read, it is in memory once, with an object for
    each entry; afterwards there are 58 bytes a box and some 60 an image, and no objects."""
    content = _content(300, 20_000, points=30)
    path = _with_images(tmp_path, content)
    boxes, size = len(content["annotations"]), path.stat().st_size
    del content
    AnnotatedImages(read_coco(path, tmp_path))  # what is imported and remembered at first
    gc.collect()
    tracemalloc.start()
    annotated = AnnotatedImages(read_coco(path, tmp_path))
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 58 * boxes + 150_000 and peak < 1.6 * size
    assert len(pickle.dumps(annotated)) < 58 * boxes + 150_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 2, -3, 4]}, r"annotations\[1\].bbox must be four finite numbers"),
        ({"bbox": [1, 2, 3, -4]}, r"annotations\[1\].bbox must be four finite numbers"),
        ({"image_id": ""}, r"annotations\[1\].image_id must be .*, got ''"),
        ({"category_id": 8}, r"annotations\[1\].category_id must be one of the ids"),
        ({"area": -0.5}, r"annotations\[1\].area must be a number from 0 to 1e\+10"),
        ({"iscrowd": 2}, r"annotations\[1\].iscrowd must be 0 or 1"),
    ],
)
def test_values_of_the_right_type_are_looked_at(
    tmp_path: Path, change: Content, message: str
) -> None:
    content = _content(9, 3)
    content["annotations"][1].update(change)
    with pytest.raises(UserError, match=message):
        read_annotations(_written(tmp_path, content))


def test_a_crowd_is_counted_as_one_wherever_it_lies(tmp_path: Path) -> None:
    content = _content(1, 6)
    content["annotations"][5]["bbox"] = [100, 100, 9, 9]  # of the second crowd
    content["annotations"][4]["bbox"] = [-9, 0, 9, 9]
    annotated = AnnotatedImages(read_coco(_with_images(tmp_path, content), tmp_path))
    assert str(annotated.contents).endswith("left out: 2 crowd, 1 outside")
    content["annotations"].insert(0, content["annotations"].pop(4))
    annotated = AnnotatedImages(read_coco(_written(tmp_path, content), tmp_path))
    assert str(annotated.contents).endswith("left out: 1 outside, 2 crowd")
