"""`python -m benchmarks.evaluation`: the time of each installed evaluator on a validation set.

2,000 images with 7 objects each on average, of 80 categories, and 100 detections each. The time is
that of `coco_metrics`, from lists of dictionaries to the twelve numbers, checks of every value
included; that of pycocotools is its own, from the same lists. All in seconds of processor time,
summed over threads, so that other work on the machine counts little.
"""

from __future__ import annotations

import contextlib
import io
import time
from typing import Any

import numpy as np
from fcos.evaluation.average_precision import coco_metrics
from fcos.evaluation.evaluators import EVALUATORS, choose_evaluator, describe_evaluator
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

IMAGES, OBJECTS, DETECTIONS, CATEGORIES = 2_000, 7, 100, 80
REPEATS = 3
Entries = list[dict[str, Any]]


def draw() -> tuple[dict[str, Any], Entries]:
    """Ground truth, and results of which two in five lie near an object, most with its category."""
    rng = np.random.default_rng(0)
    annotations: Entries = []
    results: Entries = []
    for image in range(1, IMAGES + 1):
        count = rng.poisson(OBJECTS)
        boxes, categories = _boxes(rng, count), rng.integers(1, CATEGORIES + 1, count)
        for box, category in zip(boxes, categories.tolist(), strict=True):
            own = {"image_id": image, "category_id": category, "bbox": box.tolist()}
            rest = {"id": len(annotations) + 1, "area": float(box[2] * box[3])}
            annotations.append({**own, **rest, "iscrowd": int(rng.random() < 0.02)})
        found, labels = _boxes(rng, DETECTIONS), rng.integers(1, CATEGORIES + 1, DETECTIONS)
        if count:
            near, alike = rng.random(DETECTIONS) < 0.4, rng.random(DETECTIONS) < 0.8
            chosen = rng.integers(count, size=DETECTIONS)
            jitter = 0.08 * rng.standard_normal((DETECTIONS, 4))
            close = boxes[chosen] + jitter * np.tile(boxes[chosen, 2:], 2)
            found = np.where(near[:, None], np.maximum(close, 0.01), found)
            labels = np.where(near & alike, categories[chosen], labels)
        scores = rng.random(DETECTIONS).tolist()
        for box, category, score in zip(found.tolist(), labels.tolist(), scores, strict=True):
            result = {"image_id": image, "category_id": category, "bbox": box, "score": score}
            results.append(result)
    truth = {
        "info": {},
        "images": [{"id": image} for image in range(1, IMAGES + 1)],
        "categories": [{"id": i, "name": str(i)} for i in range(1, CATEGORIES + 1)],
        "annotations": annotations,
    }
    return truth, results


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray[Any, Any]:
    corners, sides = rng.uniform(0, 400, (count, 2)), np.exp(rng.uniform(1.5, 5.5, (count, 2)))
    return np.concatenate((corners, sides), 1)


def pycocotools_alone(truth: dict[str, Any], results: Entries) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        expected = COCO()
        expected.dataset = truth
        expected.createIndex()
        run = COCOeval(expected, expected.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [float(value) for value in run.stats]


def main() -> None:
    truth, results = draw()
    begin = time.process_time()
    expected = pycocotools_alone(truth, results)
    whole = time.process_time() - begin
    print(f"{describe_evaluator('pycocotools')} alone: {whole:.2f} s")
    for name in EVALUATORS:
        with contextlib.suppress(ValueError):
            choose_evaluator(name)
            seconds = []
            for _ in range(1 if name == "pycocotools" else REPEATS):
                begin = time.process_time()
                metrics = coco_metrics(truth, results, evaluator=name)
                seconds.append(time.process_time() - begin)
            np.testing.assert_allclose(list(metrics.values()), expected, rtol=0, atol=1e-9)
            median = float(np.median(seconds))
            print(f"{describe_evaluator(name)}: {median:.2f} s, {median / whole:.3f}x")


if __name__ == "__main__":
    main()
