"""COCO's evaluation by whichever of three packages is installed: they agree to 1e-9."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np

from ..errors import UserError
from .coco_tables import Floats, ResultTable, TruthTable


class _Package(NamedTuple):
    """A package with the classes COCO and COCOeval of pycocotools."""

    coco: tuple[str, str]  # module and name
    evaluation: tuple[str, str]


EVALUATORS = {
    "hotcoco": _Package(("hotcoco", "COCO"), ("hotcoco", "COCOeval")),
    "faster-coco-eval": _Package(
        ("faster_coco_eval", "COCO"), ("faster_coco_eval", "COCOeval_faster")
    ),
    "pycocotools": _Package(("pycocotools.coco", "COCO"), ("pycocotools.cocoeval", "COCOeval")),
}
"""The fastest first. pycocotools is the reference."""


class Accumulated(NamedTuple):
    """What COCO's evaluation accumulates, over T IoU thresholds from 0.5 to 0.95, R = 101 recalls
    from 0 to 1, K categories, the A = 4 ranges of areas all, small, medium and large, and M limits
    of detections an image. -1 where there is nothing to find.

    Attributes:
        precision: float64 [T, R, K, A, M], the greatest at this recall or a higher one.
        recall: float64 [T, K, A, M], the highest.
        scores: float64 [T, R, K, A, M], of the detection that reaches the recall.
    """

    precision: Floats
    recall: Floats
    scores: Floats


def choose_evaluator(name: str | None = None) -> str:
    """The fastest that is installed, or that of this name.

    Raises:
        UserError: it is not installed.
        ModuleNotFoundError: none is.
    """
    for candidate, package in EVALUATORS.items():
        if name in (None, candidate):
            with contextlib.suppress(ImportError):  # also of a build for another NumPy
                importlib.import_module(package.coco[0])
                return candidate
    if name is not None:
        raise UserError(f"the evaluator {name} is not installed: pip install {name}")
    raise ModuleNotFoundError("No module named 'pycocotools'", name="pycocotools")


def describe_evaluator(name: str) -> str:
    """Its name and, where it was installed with that, its version."""
    with contextlib.suppress(PackageNotFoundError):
        return f"{name} {version(name)}"
    return name


def accumulate(
    truth: TruthTable, found: ResultTable, limits: Sequence[int], evaluator: str
) -> Accumulated:
    """Evaluate detections.

    Args:
        truth: with at least one image and category.
        found: at least one; pycocotools fails without any.
        limits: of detections an image, rising.
        evaluator: one of `EVALUATORS`.
    """
    package = EVALUATORS[evaluator]
    coco, evaluation = (getattr(importlib.import_module(module), name) for module, name in package)
    with contextlib.redirect_stdout(io.StringIO()):  # they report progress by print
        expected = coco()
        expected.dataset = _dataset(truth)
        expected.createIndex()
        run = evaluation(expected, expected.loadRes(_rows(found)), "bbox")
        run.params.maxDets = list(limits)
        run.evaluate()
        run.accumulate()
    return Accumulated(*(np.asarray(run.eval[name]) for name in Accumulated._fields))


def _dataset(truth: TruthTable) -> dict[str, Any]:
    """Of numbers from 1 for ids: pycocotools takes an annotation 0 for one that was never found,
    and the others take no strings."""
    columns = zip(
        truth.images.tolist(),
        truth.categories.tolist(),
        truth.boxes.tolist(),
        truth.areas.tolist(),
        truth.crowds.tolist(),
        strict=True,
    )
    return {
        "images": [{"id": i + 1} for i in range(len(truth.image_ids))],
        "categories": [{"id": i + 1, "name": str(i + 1)} for i in range(len(truth.category_ids))],
        "annotations": [
            {
                "id": number,
                "image_id": image + 1,
                "category_id": category + 1,
                "bbox": box,
                "area": area,
                "iscrowd": int(crowd),
            }
            for number, (image, category, box, area, crowd) in enumerate(columns, start=1)
        ],
    }


def _rows(found: ResultTable) -> Floats:
    """[N, 7]: image, x, y, width, height, score, category."""
    columns = (found.images + 1, found.boxes, found.scores, found.categories + 1)
    return np.column_stack(columns).astype(np.float64)
