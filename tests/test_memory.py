"""What the ops allocate through torch, which is all they allocate: csrc/ has no allocation."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import fcos_ops
from tests.repository import REPOSITORY

SMALL = 64 * 1024  # scalars, offsets, one partial sum a block of locations


def allocated_bytes(function: Callable[[], object]) -> int:
    """The sum of all allocations that torch made on the CPU during a call."""
    function()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        function()
    assert recorded.profiler is not None and recorded.profiler.kineto_results is not None
    events = recorded.profiler.kineto_results.events()
    return sum(max(0, event.nbytes()) for event in events if event.name() == "[memory]")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_focal_loss_allocates_its_gradient_only(dtype: torch.dtype) -> None:
    logits = torch.randn(20000, 80, dtype=dtype, requires_grad=True)
    labels = torch.full((20000,), -1)
    size = logits.numel() * logits.element_size()

    def forward_backward() -> None:
        torch.autograd.grad(fcos_ops.sigmoid_focal_loss(logits, labels), logits)

    assert size <= allocated_bytes(forward_backward) <= size + SMALL


def test_focal_loss_without_gradient_allocates_nothing() -> None:
    logits, labels = torch.randn(20000, 80), torch.full((20000,), -1)
    assert allocated_bytes(lambda: fcos_ops.sigmoid_focal_loss(logits, labels)) <= SMALL


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fcos_loss_allocates_its_gradients_and_an_index(dtype: torch.dtype) -> None:
    sizes = ((100, 120), (50, 60), (25, 30), (13, 15), (7, 8))
    heads = [
        [torch.rand(2, channels, *size, dtype=dtype, requires_grad=True) for size in sizes]
        for channels in (40, 4, 1)
    ]
    leaves = [tensor for head in heads for tensor in head]
    boxes = torch.tensor([[10.0, 20, 300, 400], [30, 40, 90, 80]])
    truth = boxes, torch.tensor([3, 5]), torch.tensor([0, 1, 2])
    levels = fcos_ops.pyramid_levels(sizes)

    def forward_backward() -> None:
        losses = fcos_ops.fcos_loss(*heads, *truth, levels=levels)
        torch.autograd.grad(losses[0] + losses[1] + losses[2], leaves)

    size = sum(tensor.numel() * tensor.element_size() for tensor in leaves)
    index = 4 * 2 * sum(height * width for height, width in sizes)
    assert size + index <= allocated_bytes(forward_backward) <= size + index + SMALL


@pytest.mark.parametrize("sizes", [[0, 1, 2, 3] * 25_000, [0] * 2_000_000], ids=["few", "none"])
def test_nms_padded_asks_for_memory_by_boxes_not_by_images(sizes: list[int]) -> None:
    """At most 14 MB beyond the outputs, some bytes an image to check offsets included."""
    offsets = torch.tensor([0, *sizes]).cumsum(0)
    boxes, scores = torch.rand(int(offsets[-1]), 4), torch.rand(int(offsets[-1]))

    def nms() -> fcos_ops.PaddedKeep:
        options = {"iou_threshold": 0.5, "score_threshold": None, "max_detections": 3}
        return fcos_ops.nms_padded(boxes, scores, None, offsets, **options)

    assert (nms().count <= torch.tensor(sizes)).all()
    assert allocated_bytes(nms) <= len(sizes) * 8 * (3 + 1) + 14e6


ALLOCATION = re.compile(r"\b(new|malloc|calloc|realloc|vector|string|make_unique|throw)\b(?!\()")


def test_the_native_library_allocates_and_throws_nothing() -> None:
    for path in [*Path(REPOSITORY, "csrc/cpu").iterdir(), *Path(REPOSITORY, "csrc/math").iterdir()]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            code = re.sub(r'"[^"]*"', '""', line.split("//")[0])
            assert not ALLOCATION.search(code), f"{path.name}:{number}: {line}"
