"""The composed FCOS loss against numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fcos_ops import Level, reference
from fcos_ops.presets import LOSS_RULES, LossRule

LEVEL = Level(1, 3, 8, 8, 8.0, -1.0, 64.0)
"""One row of three locations, at x = 4, 12, 20 and y = 4."""

BOXES = torch.tensor([[2.0, 0.0, 18.0, 8.0]])
"""Holds the locations 4 and 12: distances (2, 4, 14, 4) and (10, 4, 6, 4) pixels; its centre square
of 1.5 strides leaves both in."""

FIRST, SECOND = math.sqrt(2 / 14), math.sqrt(6 / 10)  # their centerness


def heads(batch: int, ltrb: list[list[float]]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Logits of 0 for two classes and centerness; distances of the three locations."""
    distances = torch.tensor(ltrb, dtype=torch.float64).T.reshape(1, 4, 1, 3)
    return (
        [torch.zeros(batch, 2, 1, 3, dtype=torch.float64)],
        [distances.expand(batch, -1, -1, -1)],
        [torch.zeros(batch, 1, 1, 3, dtype=torch.float64)],
    )


EXACT = [[0.25, 0.5, 1.75, 0.5], [1.25, 0.5, 0.75, 0.5], [9.0, 9.0, 9.0, 9.0]]
# Twice as high: half of the prediction is the box.
TALL = [[0.25, 1.0, 1.75, 1.0], [1.25, 0.5, 0.75, 0.5], [9.0, 9.0, 9.0, 9.0]]


def losses(ltrb: list[list[float]], **options: Any) -> list[float]:
    found = reference.fcos_loss(
        *heads(1, ltrb),
        BOXES.double(),
        torch.tensor([1]),
        torch.tensor([0, 1]),
        levels=[LEVEL],
        **options,
    )
    return [float(value) for value in found]


# Each of 6 logits of 0 costs log 2 / 4 times alpha or 1 - alpha.
CLASSES = math.log(2) / 4 * (2 * 0.25 + 4 * 0.75)


def test_exact_boxes_cost_nothing() -> None:
    assert losses(EXACT) == pytest.approx(
        [CLASSES / 2, 0.0, math.log(2), 2.0, FIRST + SECOND], abs=1e-7
    )


@pytest.mark.parametrize("box_weight", ["centerness", "uniform"])
@pytest.mark.parametrize("kind, loss", [("iou", math.log(2)), ("linear_iou", 0.5), ("giou", 0.5)])
def test_one_box_is_twice_as_high(kind: str, loss: float, box_weight: str) -> None:
    share = FIRST / (FIRST + SECOND) if box_weight == "centerness" else 0.5
    found = losses(TALL, loss=LossRule(kind, box_weight))
    assert found[1] == pytest.approx(share * loss, rel=1e-5)


def test_normalize_replaces_the_counts() -> None:
    found = losses(TALL, normalize=lambda counts: counts * 4)
    share = FIRST / (FIRST + SECOND)
    assert found[:3] == pytest.approx([CLASSES / 8, share / 8, math.log(2) / 4], rel=1e-5)
    assert found[3:] == pytest.approx([2.0, FIRST + SECOND])


def test_no_boxes() -> None:
    found = reference.fcos_loss(
        *heads(2, EXACT),
        torch.zeros(0, 4),
        torch.zeros(0, dtype=torch.int64),
        torch.tensor([0, 0, 0]),
        levels=[LEVEL],
    )
    expected = [2 * 6 * 0.75 * math.log(2) / 4, 0.0, 0.0, 0.0, 0.0]
    assert [float(value) for value in found] == pytest.approx(expected)


def test_per_image_is_the_mean_over_images() -> None:
    """Image 0 has the box, image 1 none: its losses are divided by 1."""
    found = reference.fcos_loss(
        *heads(2, TALL),
        BOXES,
        torch.tensor([1]),
        torch.tensor([0, 1, 1]),
        levels=[LEVEL],
        loss=LossRule(box_weight="uniform", normalizer="per_image"),
    )
    background = 6 * 0.75 * math.log(2) / 4
    expected = [(CLASSES / 2 + background) / 2, 0.5 / 2 / 2, math.log(2) / 2]
    assert [float(value) for value in found[:3]] == pytest.approx(expected, rel=1e-5)


def test_presets_are_those_of_the_papers_and_libraries() -> None:
    assert {name: rule[:3] for name, rule in LOSS_RULES.items()} == {
        "paper": ("iou", "centerness", "positives"),
        "improved": ("giou", "centerness", "positives"),
        "torchvision": ("giou", "uniform", "positives"),
        "detectron2": ("giou", "uniform", "positives"),
        "mmdet": ("iou", "centerness", "positives"),
    }
    assert {rule[3:] for rule in LOSS_RULES.values()} == {(0.25, 2.0, 1e-7)}
