"""sigmoid_focal_loss of logits of any strides, anywhere in memory."""

from typing import Any

import pytest
import torch

import fcos_ops
from fcos_ops import reference
from fcos_ops.focal_loss import _OP
from tests.common import assert_near
from tests.inputs.focal_loss import assert_matches_reference, make_labels


@pytest.mark.every_device
@pytest.mark.parametrize("dense", [False, True], ids=["labels", "dense"])
@pytest.mark.parametrize(
    "strided",
    [
        lambda x: x,
        lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
        lambda x: x.permute(0, 2, 3, 1),
        lambda x: x[:, ::2, 1:, 3:],
        lambda x: x.flip(0).transpose(0, 3),
        lambda x: x[:1].expand(3, -1, -1, -1),
        lambda x: x[..., None].expand(-1, -1, -1, -1, 3).transpose(3, 4)[..., 2:],
    ],
    ids=["nchw", "channels_last", "nhwc_view", "slice", "transpose", "expand", "5d"],
)
def test_strides(strided: Any, dense: bool) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        logits = strided(torch.randn(2, 12, 9, 300, dtype=torch.float64) * 3).to(dtype)
        labels = make_labels(logits, dense)
        for reduction in ("sum", "none"):
            assert_matches_reference(logits, labels, reduction=reduction)


@pytest.mark.every_device
@pytest.mark.parametrize("classes", [1, 3, 4, 8, 13, 80, 91])
def test_lines_that_are_not_aligned(classes: int) -> None:
    """Rows that start anywhere in memory, around the lengths of vectors and of tiles."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for rows in (1, 2, 7, 2049 // classes + 1):
            for offset in (0, 1):
                logits = (torch.randn(rows * classes + offset) * 4).to(dtype)[offset:]
                logits = logits.reshape(rows, classes)
                labels = make_labels(logits, False)
                weight = torch.rand(rows)
                assert_matches_reference(logits, labels)
                assert_matches_reference(logits, labels.int(), weight=weight)


@pytest.mark.every_device
@pytest.mark.parametrize("height, width", [(1, 8), (7, 11), (9, 128), (4, 300)])
def test_planes_that_are_not_aligned(height: int, width: int) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        planes = torch.randn(2 * 21 * height * width + 1).to(dtype)[1:]
        logits = planes.reshape(2, 21, height, width).permute(0, 2, 3, 1)
        labels = make_labels(logits, False)
        assert_matches_reference(logits, labels)
        assert_matches_reference(logits.clone(), labels, weight=torch.rand(labels.shape))


@pytest.mark.every_device
@pytest.mark.parametrize(
    ("rows", "classes", "channels_first"),
    [(6001, 27, False), (11, 65603, True), (16, 65603, True)],
    ids=["rows", "planes", "aligned planes"],
)
def test_many_tiles(rows: int, classes: int, channels_first: bool) -> None:
    """Rows: more tiles than the kernels keep apart in shared memory, for each of the blocks that a
    simulated GPU runs at once. Planes: more chunks of 16 channels than the 4096 blocks that have a
    sum each, so that some take a second one; of a size that aligns no vector, or all. Rows end
    within a vector, planes within a chunk."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        logits = (torch.randn(rows, classes) * 4).to(dtype)
        if channels_first:
            logits = logits.t().contiguous().t()
        labels = make_labels(logits, False)
        labels[:2] = torch.tensor([0, classes - 1])
        assert_matches_reference(logits, labels)
        with torch.no_grad():
            alone = fcos_ops.sigmoid_focal_loss(logits, labels.int())
        exact = reference.sigmoid_focal_loss(logits.double(), labels)
        assert_near(alone, exact, torch.float32)


@pytest.mark.every_device
def test_a_gradient_that_lies_otherwise_than_the_logits() -> None:
    """The functions allocate it as the logits lie; a C++ caller need not."""
    logits = torch.randn(2, 16, 5, 30).permute(0, 2, 3, 1)
    labels = torch.randint(-2, 16, (2, 5, 30))
    expected = torch.full_like(logits, float("nan"))
    found = torch.full((2, 5, 30, 16), float("nan"))
    inputs = (logits, labels, None, None, 0.0, 1.0, 0.25, 2.0, "sum")
    for gradient in (found, expected):
        _OP._run(None, None, gradient, inputs)
    assert_near(found, expected, torch.float32)
