"""Pictures: boxes land where they should, and the files are written."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from fcos.data import CocoDataset
from fcos.detection import detect_files, draw_beside_truth, draw_results
from fcos.drawing import DrawnBox, class_colour, draw_boxes, grid, side_by_side
from fcos.preprocessing import Preprocessing
from PIL import Image

from .helpers import small_model


def test_box_edges_have_the_colour_of_the_class() -> None:
    picture = draw_boxes(Image.new("RGB", (600, 500)), [DrawnBox((100, 200, 300, 400), 3, "x")])
    assert picture.size == (600, 500)
    for point in [(100, 300), (300, 300), (200, 200), (200, 400)]:
        assert picture.getpixel(point) == class_colour(3)
    assert picture.getpixel((200, 300)) == (0, 0, 0)


def test_small_images_are_enlarged_with_their_boxes() -> None:
    picture = draw_boxes(Image.new("RGB", (100, 50)), [DrawnBox((10, 20, 60, 40), 0, "x")])
    assert picture.size == (500, 250)
    assert picture.getpixel((50, 150)) == class_colour(0)


def test_odd_boxes_are_drawn_without_error() -> None:
    image = Image.new("RGB", (500, 500))
    for box in [(-50.0, -50.0, 900.0, 900.0), (9.0, 9.0, 9.0, 9.0), (499.5, 0.0, 500.0, 3.0)]:
        draw_boxes(image, [DrawnBox(box, 1, "a long caption " * 9)])


def test_sheets() -> None:
    row = side_by_side(
        [("left", Image.new("RGB", (20, 30))), ("right", Image.new("RGB", (40, 10)))]
    )
    assert row.width > 60 and row.height > 30
    sheet = grid([row, row, row], columns=2)
    assert sheet.width > 2 * row.width and sheet.height > 2 * row.height


def test_neighbouring_classes_differ_in_colour() -> None:
    assert len({class_colour(label) for label in range(80)}) == 80


def test_detect_writes_json_and_pictures(data: Path, tmp_path: Path) -> None:
    model = small_model()
    torch.nn.init.constant_(model.head.classification_head.cls_logits.bias, 2.0)
    files = [data / "train" / "11.png", data / "train" / "12.png", data / "train" / "11.png"]
    found = detect_files(model, files, Preprocessing(64, 96), tmp_path / "out", min_score=0.0)
    entries = json.loads(found.report.read_text())
    assert [entry["picture"] for entry in entries] == ["11.png", "12.png", "11-2.png"]
    assert entries[0]["detections"] == entries[2]["detections"]
    first = entries[0]["detections"][0]
    assert first["category"] in ("ball", "cup", "hat") and 0 < first["score"] <= 1
    plain = Image.open(files[0])
    drawn = Image.open(tmp_path / "out" / "11.png")
    assert drawn.size == (plain.width * 8, plain.height * 8)


def test_ground_truth_beside_detections(dataset: CocoDataset) -> None:
    result = {"image_id": 11, "category_id": 7, "bbox": [4, 6, 20, 24], "score": 0.9}
    other = {**result, "image_id": 12}
    sheet = draw_beside_truth(small_model(), dataset, 0, [result, other], 0.5)
    nothing = draw_beside_truth(small_model(), dataset, 0, [], 0.5)
    assert sheet.size == nothing.size and sheet.tobytes() != nothing.tobytes()


def test_a_category_without_a_name_is_drawn_with_its_id() -> None:
    result = {"category_id": 7, "bbox": [4, 6, 20, 24], "score": 0.9}
    image = Image.new("RGB", (500, 500))
    pictures = [
        draw_results(
            small_model(class_names=("", name), category_ids=(None, 7)), image, [result], 0.5
        )
        for name in ("", "category 7")
    ]
    assert pictures[0].tobytes() == pictures[1].tobytes()
