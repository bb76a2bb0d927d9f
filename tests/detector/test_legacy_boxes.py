"""Targets and detections in fcos_core's box convention, x2 = x1 + width - 1, against its rules in
plain Python: `FCOSPostProcessor`, `BoxList`, `ml_nms`, `COCODataset` of tianzhi0549/FCOS."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from fcos.data import Batch, CocoDataset, find_split
from fcos.data.augmentation import View
from fcos.detection.dataset import predict
from fcos.models import FCOS
from fcos.models.head import HeadOutput
from fcos.preprocessing import PREPROCESSING
from fcos.structures import GroundTruth, ImageBatch

from fcos_ops import ASSIGNMENT_RULES, POSTPROCESS_RULES, PostprocessRule

from .helpers import annotation, image_entry, small_model, write_dataset

LEGACY = PREPROCESSING["paper"]._replace(legacy_boxes=True)
STRIDES = (8, 16, 32, 64, 128)
MAPS = [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]  # of a batch of 64 x 96
# (height, width) in the batch, and before: larger, smaller, and mostly padding
SIZES = [((61, 93), (122, 187)), ((64, 67), (32, 33)), ((23, 41), (50, 70))]

Box = tuple[float, float, float, float]


class Found(NamedTuple):
    score: float
    label: int
    box: Box


def _heads(generator: torch.Generator, normalized: bool) -> HeadOutput:
    """Of three images; many distances are 0, which makes boxes of one pixel, also in padding."""
    maps = HeadOutput([], [], [])
    for (height, width), stride in zip(MAPS, STRIDES, strict=True):
        size = (len(SIZES), -1, height, width)

        def noise(channels: int, size: tuple[int, ...] = size) -> torch.Tensor:
            count = size[0] * channels * size[2] * size[3]
            return torch.randn(count, generator=generator).view(size)

        maps.classification.append(noise(3) * 2 - 1)
        maps.ltrb.append((noise(4) + 0.7).relu() * (1 if normalized else stride) * 1.5)
        maps.centerness.append(noise(1))
    return maps


def _model(heads: HeadOutput, rule: PostprocessRule, normalized: bool) -> FCOS:
    """A detector whose head gives these outputs whatever the image."""
    assignment = ASSIGNMENT_RULES["improved" if normalized else "paper"]
    model = small_model(
        preset="paper", preprocessing=LEGACY, assignment=assignment, postprocess=rule
    )
    model.backbone = torch.nn.Identity()
    model.head.forward = lambda images: heads  # type: ignore[method-assign]
    return model


def _batch() -> Batch:
    sizes, before = (torch.tensor(column) for column in zip(*SIZES, strict=True))
    empty = torch.zeros(0, dtype=torch.int64)
    truth = GroundTruth(torch.zeros(0, 4), empty, torch.zeros(4, dtype=torch.int64))
    images = ImageBatch(torch.zeros(len(SIZES), 3, 64, 96), sizes)
    return Batch(images, truth, [0, 1, 2], before)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _clip(value: float, limit: int) -> float:
    return min(max(value, 0.0), limit - 1.0)


def _candidates(heads: HeadOutput, image: int, rule: PostprocessRule, normalized: bool) -> Any:
    height, width = SIZES[image][0]
    for level, stride in enumerate(STRIDES):
        unit = stride if normalized else 1
        logits = heads.classification[level][image].double()
        centers = heads.centerness[level][image, 0].double()
        found = []
        for label, row, column in torch.cartesian_prod(
            *(torch.arange(n) for n in logits.shape)
        ).tolist():
            probability = _sigmoid(logits[label, row, column].item())
            if probability > rule.score_threshold:
                x, y = column * stride + stride // 2, row * stride + stride // 2
                left, top, right, bottom = (
                    heads.ltrb[level][image, :, row, column].double() * unit
                ).tolist()
                box = (
                    _clip(x - left, width),
                    _clip(y - top, height),
                    _clip(x + right, width),
                    _clip(y + bottom, height),
                )
                score = math.sqrt(probability * _sigmoid(centers[row, column].item()))
                found.append(Found(score, label, box))
        yield from sorted(found, reverse=True)[: rule.candidates_per_level]


def _iou(a: Box, b: Box) -> float:
    def area(box: Box) -> float:
        return (box[2] - box[0] + 1) * (box[3] - box[1] + 1)

    across = max(min(a[2], b[2]) - max(a[0], b[0]) + 1, 0)
    down = max(min(a[3], b[3]) - max(a[1], b[1]) + 1, 0)
    return across * down / (area(a) + area(b) - across * down)


def _expected(
    heads: HeadOutput, image: int, rule: PostprocessRule, normalized: bool
) -> list[Found]:
    """Boxes x, y, width, height in pixels of the original, best first."""
    kept: list[Found] = []
    for one in sorted(_candidates(heads, image, rule, normalized), reverse=True):
        rivals = (other for other in kept if other.label == one.label)
        if all(_iou(one.box, other.box) <= rule.iou_threshold for other in rivals):
            kept.append(one)
    (height, width), (original_height, original_width) = SIZES[image]
    across, down = original_width / width, original_height / height
    return [
        Found(
            score,
            label,
            (x1 * across, y1 * down, (x2 - x1) * across + 1, (y2 - y1) * down + 1),
        )
        for score, label, (x1, y1, x2, y2) in kept[: rule.max_detections]
    ]


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("limits", [(1000, 1000), (40, 25)], ids=str)
def test_detections(limits: tuple[int, int], normalized: bool) -> None:
    rule = POSTPROCESS_RULES["paper"]._replace(
        candidates_per_level=limits[0], max_detections=limits[1]
    )
    heads = _heads(torch.Generator().manual_seed(3), normalized)
    results = predict(_model(heads, rule, normalized), [_batch()])
    narrow = 0
    for image in range(len(SIZES)):
        expected = _expected(heads, image, rule, normalized)
        found = [result for result in results if result["image_id"] == image]
        assert len(found) == len(expected) > 20
        for ours, theirs in zip(found, expected, strict=True):
            assert ours["category_id"] == (3, 7, 40)[theirs.label]
            # float32: a few roundings of numbers up to 1, and of pixels up to 187
            assert ours["score"] == pytest.approx(theirs.score, abs=1e-6)
            assert ours["bbox"] == pytest.approx(theirs.box, abs=1e-4)
            narrow += min(theirs.box[2:]) == 1
    assert narrow > 5  # of one pixel, where the conventions differ most


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_the_pixel(dtype: torch.dtype) -> None:
    """256 + 1 is 256 in bfloat16."""
    rule = POSTPROCESS_RULES["paper"]
    heads = _heads(torch.Generator().manual_seed(3), False)
    half = HeadOutput(*([t.to(dtype) for t in maps] for maps in heads))
    same = HeadOutput(*([t.float() for t in maps] for maps in half))
    found = [predict(_model(h, rule, False), [_batch()]) for h in (half, same)]
    assert [r["bbox"] for r in found[0]] == [r["bbox"] for r in found[1]]


def test_without_original_sizes_a_box_ends_behind_its_last_pixel() -> None:
    heads = _heads(torch.Generator().manual_seed(3), True)
    model = _model(heads, POSTPROCESS_RULES["paper"], True).eval()
    images = _batch().images
    boxes = model.detect(images).boxes
    same = model.detect(images, original_sizes=images.sizes).boxes
    torch.testing.assert_close(boxes, same, rtol=0, atol=1e-5)  # one more rounding of pixels


# bbox of an annotation in an image 60 wide and 40 high
ANNOTATIONS: list[Box] = [
    (10, 5, 20, 30),
    (0, 0, 60, 40),
    (-5.5, 10, 20, 10),  # reach out of the image
    (50.25, 30.5, 30, 30),
    (10, -3, 4.5, 100),
    (59, 5, 5, 5),  # clipped to a width of 1
    (20, 20, 1, 8),  # of that width, more, less
    (20, 20, 1.25, 8),
    (20, 20, 0.5, 8),
    (60, 5, 5, 5),  # outside
]


def _expected_targets(after: tuple[int, int], flip: bool) -> list[list[float]]:
    height, width = 40, 60
    boxes = []
    for x, y, box_width, box_height in ANNOTATIONS:
        x1, x2 = _clip(x, width), _clip(x + max(box_width - 1, 0), width)
        y1, y2 = _clip(y, height), _clip(y + max(box_height - 1, 0), height)
        if x2 > x1 and y2 > y1:
            across, down = after[1] / width, after[0] / height
            x1, x2, y1, y2 = x1 * across, x2 * across, y1 * down, y2 * down
            if flip:
                x1, x2 = after[1] - x2 - 1, after[1] - x1 - 1
            boxes.append([x1, y1, x2, y2])
    return boxes


@pytest.mark.parametrize("flip", [False, True])
def test_targets(tmp_path: Path, flip: bool) -> None:
    """Ours hold two more, of one pixel's width, which is 0 here: no location lies inside them."""
    entries = [annotation(1, 3, list(box)) for box in ANNOTATIONS]
    write_dataset(tmp_path, "train", [image_entry(1, 60, 40)], entries)
    preprocessing = LEGACY._replace(size=64, max_size=80)
    dataset = CocoDataset(*find_split(tmp_path, "train"), preprocessing)
    sample = dataset.sample(0, View(flip=flip))
    empty = sample.boxes[:, 2] == sample.boxes[:, 0]
    assert sample.image.shape[1:] == (53, 79) and empty.sum() == 2
    expected = torch.tensor(_expected_targets((53, 79), flip))
    # float32: a few roundings of pixels up to 80
    torch.testing.assert_close(sample.boxes[~empty], expected, rtol=0, atol=2e-5)
