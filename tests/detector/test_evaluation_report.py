"""What `fcos eval` says class by class: the table and the confusions."""

from __future__ import annotations

import warnings
from typing import Any

from fcos.evaluation.average_precision import ClassResult
from fcos.evaluation.coco_tables import result_table, truth_table
from fcos.evaluation.confusion import confusion
from fcos.evaluation.report import class_table

BOXES = [[40.0 * i, 0.0, 20.0, 20.0] for i in range(4)]


def _truth(*objects: tuple[int, list[float], int], images: int = 1) -> dict[str, Any]:
    """Of (category, box, iscrowd) on image 1."""
    return {
        "images": [{"id": i + 1} for i in range(images)],
        "categories": [{"id": i, "name": str(i)} for i in (3, 7)],
        "annotations": [
            {
                "id": number,
                "image_id": 1,
                "category_id": category,
                "bbox": box,
                "area": 400,
                "iscrowd": crowd,
            }
            for number, (category, box, crowd) in enumerate(objects, start=1)
        ],
    }


def _confusion(truth: dict[str, Any], *found: tuple[int, list[float], float]) -> list[list[int]]:
    results = [
        {"image_id": 1, "category_id": category, "bbox": box, "score": score}
        for category, box, score in found
    ]
    tables = truth_table(truth), result_table(truth, results)
    return confusion(*tables, min_score=0.3).tolist()


def test_found_as_itself_as_another_and_not_at_all() -> None:
    truth = _truth((3, BOXES[0], 0), (3, BOXES[1], 0), (7, BOXES[2], 0), images=2)
    found = [(3, BOXES[0], 0.9), (7, BOXES[1], 0.3), (7, BOXES[3], 0.5), (7, BOXES[2], 0.29)]
    assert _confusion(truth, *found) == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]


def test_an_object_is_found_once_and_by_the_best_score() -> None:
    truth = _truth((3, BOXES[0], 0))
    found = [(7, BOXES[0], 0.5), (3, [1.0, 0.0, 20.0, 20.0], 0.8)]
    assert _confusion(truth, *found) == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_detections_in_a_crowd_do_not_count() -> None:
    truth = _truth((3, [0.0, 0.0, 200.0, 200.0], 1))
    found = [(3, BOXES[0], 0.5), (3, BOXES[1], 0.5), (7, BOXES[2], 0.5)]
    assert _confusion(truth, *found) == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_boxes_without_area() -> None:
    point = [5.0, 5.0, 0.0, 0.0]
    truth = _truth((3, point, 0), (7, point, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _confusion(truth, (3, point, 0.5)) == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


def test_without_detections_or_objects() -> None:
    assert _confusion(_truth((7, BOXES[0], 0))) == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert _confusion(_truth(), (3, BOXES[0], 0.5)) == [[0, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_table() -> None:
    classes = [ClassResult(3, 0.25, 0.5, 12, 0.4), ClassResult(7, -1, -1, 0, None)]
    lines = class_table(classes, ["ball", "a name of more than thirty letters"]).splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["class", "AP", "AP50", "boxes", "best", "score", "threshold"],
        ["ball", "0.250", "0.500", "12", "0.400"],
    ]
    assert lines[2].split()[-4:] == ["-", "-", "0", "-"] and "a name of more than t..." in lines[2]
    assert len({line.rindex("  ") for line in lines[:2]}) == 1
