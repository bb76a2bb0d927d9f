"""Three packages evaluate alike, whatever is installed; pycocotools is the reference."""

from __future__ import annotations

import contextlib
import copy
import io
import sys
from typing import Any

import numpy as np
import pytest
from fcos.data import CocoDataset, find_split
from fcos.errors import UserError
from fcos.evaluation.average_precision import METRIC_NAMES, Evaluation, coco_metrics
from fcos.evaluation.coco_tables import result_table, truth_table
from fcos.evaluation.evaluators import EVALUATORS, accumulate, choose_evaluator

from tests.repository import PHOTOS, WITHOUT_PHOTOS

OTHERS = [name for name in EVALUATORS if name != "pycocotools"]
Truth, Results = dict[str, Any], list[dict[str, Any]]


def _generated(seed: int, *, detections: int = 15, ids: type = int) -> tuple[Truth, Results]:
    """Images of few and of many objects, crowds, areas other than those of the boxes and on the
    borders of the ranges, equal scores, boxes equal to the truth and jittered ones."""
    rng = np.random.default_rng(seed)
    categories = [{"id": int(c), "name": str(c)} for c in rng.permutation([3, 7, 40, 41])]
    images = [{"id": ids(i)} for i in rng.permutation(12)]
    annotations: Results = []
    results: Results = []
    for image in images:
        for _ in range(rng.integers(0, 9)):
            box = [*rng.integers(0, 60, 2), *rng.integers(1, 120, 2)]
            area = rng.choice([box[2] * box[3], 1024.0, 9216.0, 0.0, 7.5])
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": int(rng.choice([3, 7, 40])),
                    "bbox": [float(value) for value in box],
                    "area": float(area),
                    "iscrowd": int(rng.random() < 0.15),
                }
            )
        own = [a for a in annotations if a["image_id"] == image["id"]]
        for _ in range(detections):
            entry = own[rng.integers(len(own))] if own else {"bbox": [0, 0, 9, 9]}
            jitter = rng.choice([0, 0.05, 0.3]) * rng.standard_normal(4) * max(entry["bbox"][2:])
            box = np.asarray(entry["bbox"]) + jitter
            box[2:] = np.maximum(box[2:], 0)
            wrong = rng.random() < 0.3
            category = int(rng.choice([3, 7, 40, 41])) if wrong else entry.get("category_id", 3)
            result = {"image_id": image["id"], "category_id": category, "bbox": box.tolist()}
            results.append({**result, "score": float(rng.integers(20) / 20)})
    return {"images": images, "categories": categories, "annotations": annotations}, results


def _summary(truth: Truth, results: Results) -> list[float]:
    """pycocotools itself, without any of our code."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        expected = COCO()
        expected.dataset = {**copy.deepcopy(truth), "info": {}}
        expected.createIndex()
        run = COCOeval(expected, expected.loadRes(copy.deepcopy(results)), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats.tolist()


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_the_twelve_metrics_are_those_of_pycocotools(evaluator: str, seed: int) -> None:
    _need(evaluator)
    truth, results = _generated(seed)
    metrics = coco_metrics(truth, results, evaluator=evaluator)
    assert list(metrics) == list(METRIC_NAMES) and metrics["AP"] > 0
    assert list(metrics.values()) == pytest.approx(_summary(truth, results), abs=1e-9)


@pytest.mark.parametrize("limits", [[1], [1, 7], [1, 10, 100], [1, 10, 300], [1, 10, 1000]])
@pytest.mark.parametrize("evaluator", OTHERS)
def test_all_that_is_accumulated_is_alike(evaluator: str, limits: list[int]) -> None:
    """Precision, recall and scores of every class, area and limit."""
    _need(evaluator)
    for seed in range(20, 24):
        truth, results = _generated(seed, detections=40)
        tables = truth_table(truth), result_table(truth, results)
        expected = accumulate(*tables, limits, "pycocotools")
        assert (expected.precision > -1).any() and (expected.precision == -1).any()
        for own, theirs in zip(accumulate(*tables, limits, evaluator), expected, strict=True):
            np.testing.assert_allclose(own, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_ids_that_are_strings(evaluator: str) -> None:
    _need(evaluator)
    truth, results = _generated(3, ids=str)
    metrics = coco_metrics(truth, results, evaluator=evaluator)
    assert list(metrics.values()) == pytest.approx(_summary(truth, results), abs=1e-9)


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=WITHOUT_PHOTOS)
@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_annotations_of_coco(evaluator: str) -> None:
    _need(evaluator)
    truth = CocoDataset(*find_split(PHOTOS, "val")).ground_truth()
    rng = np.random.default_rng(0)
    results: Results = []
    for annotation in truth["annotations"]:
        for spread in (0.0, 0.1):
            box = np.asarray(annotation["bbox"]) + spread * rng.standard_normal(4) * 9
            box[2:] = np.maximum(box[2:], 0)
            result = {key: annotation[key] for key in ("image_id", "category_id")}
            results.append({**result, "bbox": box.tolist(), "score": float(rng.random())})
    metrics = coco_metrics(truth, results, evaluator=evaluator)
    assert list(metrics.values()) == pytest.approx(_summary(truth, results), abs=1e-9)


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_more_than_a_hundred_detections_of_an_image(evaluator: str) -> None:
    """One object an image, found by the detection with the 150th best score."""
    _need(evaluator)
    truth, results = _generated(0)
    for key in ("images", "annotations"):
        truth[key] = truth[key][:1]
    found = {"image_id": truth["images"][0]["id"], "category_id": 3}
    truth["annotations"][0].update(found, bbox=[10, 10, 20, 20], area=400, iscrowd=0)
    results = [{**found, "bbox": [50, 50, 9, 9], "score": 1 - i / 1000} for i in range(200)]
    results[149]["bbox"] = [10, 10, 20, 20]
    assert coco_metrics(truth, results, evaluator=evaluator)["AP"] == 0
    metrics = coco_metrics(truth, results, max_detections=200, evaluator=evaluator)
    precisions = [metrics[name] for name in ("AP", "AP50", "AP75", "APs")]
    assert precisions == pytest.approx([1 / 150] * 4)
    assert metrics["AR200"] == 1 and metrics["AR10"] == 0 and "AR100" not in metrics
    assert list(coco_metrics(truth, results, max_detections=10)) == [
        *METRIC_NAMES[:6],
        *("AR1", "AR10", "ARs", "ARm", "ARl"),
    ]


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_classes(evaluator: str) -> None:
    _need(evaluator)
    truth, results = _generated(5)
    evaluation = Evaluation(truth, results, evaluator=evaluator)
    classes = evaluation.classes()
    assert [own.category_id for own in classes] == [3, 7, 40, 41]
    objects = [a["category_id"] for a in truth["annotations"] if not a["iscrowd"]]
    assert [own.boxes for own in classes] == [objects.count(n) for n in (3, 7, 40, 41)]
    assert (classes[3].ap, classes[3].ap50, classes[3].score) == (-1, -1, None)
    metrics = evaluation.metrics()
    assert np.mean([own.ap for own in classes[:3]]) == pytest.approx(metrics["AP"])
    assert np.mean([own.ap50 for own in classes[:3]]) == pytest.approx(metrics["AP50"])
    curves = evaluation.curves()
    assert list(curves) == [3, 7, 40]
    assert np.mean(list(curves.values())) == pytest.approx(metrics["AP50"])


def test_the_best_score() -> None:
    """Two of four objects first, then a false box, a third object, and false ones: the third is
    worth the false box, 2 * 3 / (4 + 4) against 2 * 2 / (2 + 4)."""
    common = {"image_id": 1, "category_id": 3}
    boxes = [[30.0 * i, 0.0, 20.0, 20.0] for i in range(4)]
    truth = {
        "images": [{"id": 1}],
        "categories": [{"id": 3, "name": "ball"}],
        "annotations": [
            {**common, "id": i, "bbox": box, "area": 400, "iscrowd": 0}
            for i, box in enumerate(boxes, start=1)
        ],
    }
    false = [[0.0, 50.0, 9.0, 9.0]] * 3
    found = [boxes[0], boxes[1], false[0], boxes[2], *false]
    results = [{**common, "bbox": box, "score": 0.9 - i / 10} for i, box in enumerate(found)]
    (own,) = Evaluation(truth, results).classes()
    assert own.score == pytest.approx(0.6) and own.boxes == 4


def test_without_detections(dataset: CocoDataset) -> None:
    evaluation = Evaluation(dataset.ground_truth(), [])
    assert [(own.ap, own.boxes, own.score) for own in evaluation.classes()] == [
        (0, 3, None),
        (0, 3, None),
        (0, 1, None),
    ]
    assert len(evaluation.curves()) == 3 and not np.any(list(evaluation.curves().values()))


def test_no_detections_are_as_good_as_a_false_one(dataset: CocoDataset) -> None:
    """Where there are no objects of a size there is nothing to measure, here none above 96 x 96
    pixels; one of 32 x 32 is small and medium."""
    truth = dataset.ground_truth()
    truth["annotations"][0]["area"] = 32**2
    false = {"image_id": 13, "category_id": 3, "bbox": [0, 0, 5, 5], "score": 0.1}
    nothing, one = (Evaluation(truth, results) for results in ([], [false]))
    assert nothing.metrics() == one.metrics()
    assert nothing.metrics()["APl"] == -1 and nothing.metrics()["APm"] == 0
    assert nothing.classes() == one.classes()


def test_the_fastest_that_is_installed_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("hotcoco", "faster_coco_eval"):
        monkeypatch.setitem(sys.modules, name, None)
    assert choose_evaluator() == "pycocotools"
    with pytest.raises(UserError, match="hotcoco is not installed: pip install hotcoco"):
        choose_evaluator("hotcoco")
    assert Evaluation(*_generated(0)).evaluator.startswith("pycocotools 2.")


def _need(evaluator: str) -> None:
    pytest.importorskip(EVALUATORS[evaluator].coco[0].split(".")[0])
