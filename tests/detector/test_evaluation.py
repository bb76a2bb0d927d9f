"""Evaluation: known averages, empty results, crowds, and geometry back to the original image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from fcos.data import CocoDataset, collate, find_split
from fcos.detection.dataset import describe_unused, evaluate, match_categories, predict
from fcos.errors import UserError
from fcos.evaluation.average_precision import METRIC_NAMES, coco_metrics
from fcos.evaluation.report import format_metrics
from fcos.structures import pad_images

from fcos_ops import POSTPROCESS_RULES
from tests.repository import PHOTOS, WITHOUT_PHOTOS

from .helpers import decided_model, small_model

TRUTH_LISTS = ("images", "categories", "annotations")


def _truth_as_results(dataset: CocoDataset) -> list[dict]:  # type: ignore[type-arg]
    annotations = dataset.ground_truth()["annotations"]
    keys = ("image_id", "category_id", "bbox")
    return [{**{k: a[k] for k in keys}, "score": 1.0} for a in annotations if not a["iscrowd"]]


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=WITHOUT_PHOTOS)
@pytest.mark.parametrize(("split", "crowds"), [("train", 6), ("val", 11)])
def test_ground_truth_as_results_is_perfect(split: str, crowds: int) -> None:
    """Real COCO annotations, crowd regions included: AP is exactly 1."""
    dataset = CocoDataset(*find_split(PHOTOS, split))
    truth = dataset.ground_truth()
    assert len(dataset) == 80 and len(dataset.category_ids) == 80
    assert sum(a["iscrowd"] for a in truth["annotations"]) == crowds
    metrics = coco_metrics(truth, _truth_as_results(dataset))
    assert metrics["AP"] == metrics["AP50"] == metrics["AP75"] == 1.0
    dropped = coco_metrics(truth, _truth_as_results(dataset)[::2])
    assert dropped["AP"] < 0.9


def test_ground_truth_with_a_missing_and_a_false_box(dataset: CocoDataset) -> None:
    dataset.annotated.images = dataset.annotated.images[
        :2
    ]  # ball, cup and hat once each, and a crowd of balls
    results = _truth_as_results(dataset)
    assert coco_metrics(dataset.ground_truth(), results)["AP"] == pytest.approx(1.0)
    only_two = [r for r in results if r["category_id"] != 40]
    assert coco_metrics(dataset.ground_truth(), only_two)["AP"] == pytest.approx(2 / 3)
    wrong = {"image_id": 11, "category_id": 7, "bbox": [40, 30, 9, 9], "score": 2.0}
    # cup: the false box comes first, so precision is 1/2 at every recall
    assert coco_metrics(dataset.ground_truth(), [*results, wrong])["AP"] == pytest.approx(5 / 6)
    in_crowd = {"image_id": 12, "category_id": 3, "bbox": [9, 9, 9, 9], "score": 2.0}
    assert coco_metrics(dataset.ground_truth(), [*results, in_crowd])["AP"] == pytest.approx(1.0)


def test_no_results_give_zeros(dataset: CocoDataset) -> None:
    """Of objects that are all small."""
    metrics = coco_metrics(dataset.ground_truth(), [])
    others = dict.fromkeys(("APm", "APl", "ARm", "ARl"), -1.0)
    assert metrics == {**dict.fromkeys(METRIC_NAMES, 0.0), **others} and len(metrics) == 12


def test_no_ground_truth_gives_nothing_to_measure(dataset: CocoDataset) -> None:
    dataset.annotated.images = dataset.annotated.images[2:3]
    assert coco_metrics(dataset.ground_truth(), []) == dict.fromkeys(METRIC_NAMES, -1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"bbox": [1, 2, 3, math.nan]},
            r"results\[2\].bbox must be four finite numbers .*, got .*nan",
        ),
        ({"bbox": [1, 2, math.inf, 4]}, r"results\[2\].bbox must be"),
        ({"bbox": [1, 2, 3]}, r"results\[2\].bbox must be"),
        ({"bbox": [1, 2, -3, 4]}, r"results\[2\].bbox must be .* width >= 0"),
        ({"bbox": [0, 0, 2e5, 2e5]}, r"results\[2\].bbox must be .*, of at most 1e\+10 square"),
        ({"bbox": None}, r"results\[2\].bbox must be"),
        ({"score": math.nan}, r"results\[2\].score must be a finite number, got nan"),
        ({"score": None}, r"results\[2\].score must be"),
        ({"image_id": 99}, r"results\[2\].image_id must be the id of an image .*, got 99"),
        ({"image_id": "11"}, r"results\[2\].image_id must be .*, got '11'"),
        ({"image_id": [11]}, r"results\[2\].image_id must be"),
        ({"category_id": 99}, r"results\[2\].category_id must be .*, got 99"),
    ],
)
def test_results_that_would_be_misread_are_refused(
    dataset: CocoDataset, change: dict[str, Any], message: str
) -> None:
    results = _truth_as_results(dataset)
    results[2] |= change
    with pytest.raises(UserError, match=message):
        coco_metrics(dataset.ground_truth(), results)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 0}, "id must be a number of at least 1, got 0"),
        ({"id": 1}, "id must be that of no annotation before it, got 1"),
        ({"bbox": [1, 2, 3, math.nan]}, "bbox must be four finite numbers"),
        ({"area": math.nan}, r"area must be a finite number from 0 to 1e\+10, got nan"),
        ({"area": None}, "area must be a finite number .*, got None"),
        ({"area": -1}, "area must be a finite number .*, got -1"),
        ({"area": 1e11}, "area must be a finite number .*, got 1000"),
        ({"bbox": [1, 2, -30, 4]}, "bbox must be four finite numbers x, y, width >= 0"),
        ({"iscrowd": None}, "iscrowd must be 0 or 1, got None"),
        ({"image_id": 99}, "image_id must be the id of an image of ground_truth, got 99"),
        ({"category_id": 99}, "category_id must be that of a category of it, got 99"),
    ],
)
def test_ground_truth_that_would_be_misread_is_refused(
    dataset: CocoDataset, change: dict[str, Any], message: str
) -> None:
    truth = dataset.ground_truth()
    truth["annotations"][1] |= change
    with pytest.raises(UserError, match=rf"ground_truth annotations\[1\].{message}"):
        coco_metrics(truth, [])
    for field in change:
        del truth["annotations"][1][field]
    with pytest.raises(UserError, match="got nothing"):
        coco_metrics(truth, [])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        *((key, None, f"ground_truth must have a list '{key}'") for key in TRUTH_LISTS),
        *(
            (key, [3], rf"ground_truth {key}\[0\] must be a dictionary, got 3")
            for key in TRUTH_LISTS
        ),
        ("images", [{"id": 1}, {"id": "2"}], r"images\[1\].id must be of one type .* 1, got '2'"),
        ("images", [{}], r"images\[0\].id must be a whole number or a string, got nothing"),
        ("categories", [{"id": "3"}], r"categories\[0\].id must be a whole number, got '3'"),
    ],
)
def test_lists_of_the_ground_truth(
    dataset: CocoDataset, key: str, value: object, message: str
) -> None:
    truth = dataset.ground_truth()
    with pytest.raises(UserError, match=message):
        coco_metrics({**truth, key: value}, [])
    del truth[key]
    with pytest.raises(UserError, match=f"ground_truth must have a list '{key}'"):
        coco_metrics(truth, [])


def test_numbers_and_boxes_of_numpy(dataset: CocoDataset) -> None:
    truth, results = dataset.ground_truth(), _truth_as_results(dataset)
    expected = coco_metrics(truth, results)
    for entry in (*truth["annotations"], *results):
        entry["image_id"] = np.int64(entry["image_id"])
        entry["category_id"] = np.int32(entry["category_id"])
        entry["bbox"] = np.array(entry["bbox"])
    results[0]["score"] = np.float32(1)
    assert coco_metrics(truth, results) == expected
    results[1]["bbox"] = results[1]["bbox"][:3]
    with pytest.raises(UserError, match=r"results\[1\].bbox must be"):
        coco_metrics(truth, results)


def test_arguments_are_left_as_they_were(dataset: CocoDataset) -> None:
    truth, results = dataset.ground_truth(), _truth_as_results(dataset)
    first = coco_metrics(truth, results)
    assert set(results[0]) == {"image_id", "category_id", "bbox", "score"}
    assert coco_metrics(truth, results) == first


@torch.inference_mode()
def test_detections_in_original_pixels_and_by_another_rule() -> None:
    model = small_model().eval()
    torch.nn.init.constant_(model.head.classification_head.cls_logits.bias, 2.0)
    images = pad_images([torch.rand(3, 90, 120), torch.rand(3, 70, 128)])
    found = model.detect(images)
    twice = model.detect(images, original_sizes=images.sizes * 2)
    assert found.count.min() > 3
    torch.testing.assert_close(twice.boxes, found.boxes * 2)
    rule = POSTPROCESS_RULES[model.config.preset]
    for a, b in zip(model.detect(images, rule=rule), found, strict=True):
        assert torch.equal(a, b)
    assert model.detect(images, rule=rule._replace(max_detections=3)).count.tolist() == [3, 3]


def test_predictions_are_coco_results(dataset: CocoDataset) -> None:
    model = small_model()
    torch.nn.init.constant_(model.head.classification_head.cls_logits.bias, 2.0)
    metrics, results = evaluate(model, dataset, batch=3)
    assert tuple(metrics) == METRIC_NAMES and all(-1 <= v <= 1 for v in metrics.values())
    assert {r["image_id"] for r in results} == {11, 12, 13, 14}
    assert {r["category_id"] for r in results} <= {3, 7, 40}
    for result in results:
        info = next(i for i in dataset.annotated.images if i["id"] == result["image_id"])
        x, y, width, height = result["bbox"]
        assert x >= 0 and y >= 0 and width > 0 and height > 0
        assert x + width <= info["width"] + 1e-3 and y + height <= info["height"] + 1e-3


def test_untrained_model_finds_nothing_and_evaluates_to_zero(dataset: CocoDataset) -> None:
    model = small_model()
    assert predict(model.train(), []) == [] and not model.training
    metrics, results = evaluate(model, dataset)
    assert results == [] and metrics["AP50"] == 0.0


def test_channels_without_a_category_are_no_results(dataset: CocoDataset) -> None:
    batches = [collate([dataset[0]])]
    whole = predict(decided_model(), batches)
    results = predict(decided_model(category_ids=(None, 7, 40)), batches)
    assert results == [result for result in whole if result["category_id"] != 3]
    assert 0 < len(results) < len(whole)


def test_other_categories_are_refused(dataset: CocoDataset) -> None:
    model = small_model(class_names=("a", "b"), category_ids=(1, 2))
    with pytest.raises(
        UserError, match="2 categories, 'a', 'b'; the data has 3, .*: none against 3 'ball'"
    ):
        evaluate(model, dataset)


def test_channels_without_a_category_are_left_out(dataset: CocoDataset) -> None:
    """Of a background, of a category that the data lacks; and of a file without names."""
    names, ids = ("", "hat", "dog", "ball", ""), (None, 40, 8, 3, 7)
    model = small_model(class_names=names, category_ids=ids)
    torch.nn.init.constant_(model.head.classification_head.cls_logits.bias, 2.0)
    matched = match_categories(model.config, dataset)
    assert matched == (None, 40, None, 3, 7)
    assert describe_unused(model.config, matched) == (
        "2 of 5 channels stand for no category of the data: 0, 2"
    )
    _, results = evaluate(model, dataset)
    assert {result["category_id"] for result in results} == {3, 7, 40}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("cup", "ball", "hat"), "3 'cup' against 3 'ball'"),
        (("ball", "cup", "cap"), "40 'cap' against 40 'hat'"),
    ],
)
def test_other_names_of_the_same_ids_are_refused(
    dataset: CocoDataset, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(small_model(class_names=names), dataset)


def test_nothing_to_measure_is_said() -> None:
    (line,) = format_metrics(dict.fromkeys(METRIC_NAMES, -1.0)).splitlines()
    assert line.startswith("nothing to measure: the data set has no objects")


def test_format() -> None:
    text = format_metrics(dict.fromkeys(METRIC_NAMES, 0.5))
    assert len(text.splitlines()) == 2 and text.startswith("AP 0.500  AP50 0.500")
    text = format_metrics({**dict.fromkeys(METRIC_NAMES, 0.5), "APl": -1.0, "ARl": -1.0})
    assert text.count(" -") == 2 and "-1" not in text
