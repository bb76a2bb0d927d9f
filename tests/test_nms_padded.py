"""nms_padded against the reference, index for index."""

import pytest
import torch

import fcos_ops
from fcos_ops import reference
from tests.common import DTYPES
from tests.inputs.nms import INF, NAN, OPTIONS, batch, corners

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.every_device
@pytest.mark.parametrize("sizes", [[], [0], [0, 0, 0], [1], [40, 0, 1, 300, 7], [90] * 12], ids=str)
def test_padded_equals_the_reference(sizes: list[int]) -> None:
    for dtype in (torch.int64, torch.int32):
        boxes, scores, classes, offsets = batch(sizes, dtype)
        for chosen in (classes, classes.int(), None):
            for options in (
                OPTIONS,
                {"iou_threshold": 0.0, "score_threshold": None, "max_detections": 1000},
                {"iou_threshold": 1.0, "score_threshold": -0.125, "max_detections": 3},
                {"iou_threshold": 0.6, "score_threshold": -INF, "max_detections": 1},
                {"iou_threshold": 0.6, "score_threshold": INF, "max_detections": 5},
                {"iou_threshold": 0.6, "score_threshold": 0.0, "max_detections": 0},
            ):
                arguments = (boxes, scores, chosen, offsets)
                actual = fcos_ops.nms_padded(*arguments, **options)
                expected = reference.nms_padded(*arguments, **options)
                for a, e in zip(actual, expected, strict=True):
                    assert a.dtype == torch.int64 and torch.equal(a, e)


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", DTYPES)
def test_padded_score_threshold_is_rounded_as_scores_are_computed(dtype: torch.dtype) -> None:
    scores = torch.tensor([0.05, 0.1, 0.0498, NAN, INF, -INF], dtype=dtype)
    boxes = corners(torch.arange(6)[:, None] * torch.tensor([2.0, 0.0]), torch.ones(6, 2))
    for threshold in (0.05, 0.1, -INF, None):
        options = OPTIONS | {"score_threshold": threshold}
        actual = fcos_ops.nms_padded(boxes, scores, None, torch.tensor([0, 6]), **options)
        expected = reference.nms_padded(boxes, scores, None, torch.tensor([0, 6]), **options)
        assert torch.equal(actual.keep, expected.keep)


# Kernels have one block an image, which takes 4096 boxes a round.
@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "sizes",
    [
        [4500],
        [3000, 0, 2000],
        [100, 4200],
        [4096, 64],
        [0, 300, 0, 0, 700, 64, 65, 1, 0, 5, 63, 128],
    ],
    ids=str,
)
def test_padded_images_across_rounds(sizes: list[int], dtype: torch.dtype) -> None:
    boxes, scores, classes, offsets = batch(sizes)
    boxes[::50, 1], scores[3::40] = NAN, NAN
    for limit in (1, 64, 100, 1024, 1025, 5000):
        chosen = None if limit == 100 else classes
        options = OPTIONS | {"max_detections": limit, "score_threshold": -1.5}
        arguments = (boxes, scores.to(dtype), chosen, offsets)
        actual = fcos_ops.nms_padded(*arguments, **options)
        expected = reference.nms_padded(*arguments, **options)
        assert torch.equal(actual.count, expected.count)
        assert torch.equal(actual.keep, expected.keep)


def test_threads_and_runs_agree() -> None:
    """Also where threads take many images each."""
    arguments = batch([1000, 0, 1, 7, 300, 0] * 20)
    results = []
    for threads in (1, 2, 2, 3):
        torch.set_num_threads(threads)
        results.append(fcos_ops.nms_padded(*arguments, **OPTIONS | {"max_detections": 2000}))
    for keep, count in results[1:]:
        assert torch.equal(keep, results[0].keep) and torch.equal(count, results[0].count)
