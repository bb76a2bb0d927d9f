"""What the ops allocate through torch, which is all they allocate: csrc/ has no allocation."""

import functools
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def peak_bytes(function: Callable[[], object]) -> int:
    """The most that torch held at once on the CPU of what it allocated during a call."""
    function()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        function()
    assert recorded.profiler is not None and recorded.profiler.kineto_results is not None
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(itertools.accumulate((event.nbytes() for event in events), initial=0))


COUNT = 2**24  # four times what is copied at a time
COPIES = 3 * 2**22 * 8  # at most three inputs of that many elements, in float64 or int64


def test_expanded_centerness_is_not_copied_whole() -> None:
    """Whichever input was expanded, and from what: of 2^31 elements as little would be copied."""
    one, line = torch.tensor(0.3), torch.rand(1, COUNT // 64)
    for logits, target, labels in (
        (one.expand(COUNT), one.expand(COUNT), None),
        (
            one.expand(64, COUNT // 64),
            line.expand(64, -1),
            torch.ones(64, 1).long().expand(64, COUNT // 64),
        ),
        (torch.rand(1, 1, COUNT), one.bfloat16().expand(1, 1, COUNT), None),
        (torch.rand(COUNT // 64, 64).t(), torch.rand(64, COUNT // 64), None),
    ):
        function = functools.partial(fcos_ops.centerness_loss, logits, target, labels=labels)
        assert peak_bytes(function) <= COPIES + SMALL
        chosen = slice(None, None, 1024)
        losses, whole = function(reduction="none"), function()
        expected = fcos_ops.centerness_loss(
            logits.flatten()[chosen].clone(), target.flatten()[chosen].float(), reduction="none"
        )
        assert torch.equal(losses.flatten()[chosen], expected)
        assert abs(whole - losses.double().sum()) <= 2e-6 * whole


@pytest.mark.parametrize("dense", [False, True], ids=["labels", "dense"])
def test_expanded_labels_of_focal_loss_are_not_copied_whole(dense: bool) -> None:
    classes = 2
    for logits in (
        torch.randn(COUNT // 2, classes),
        torch.zeros(()).expand(3, COUNT // 6, classes),
    ):
        rows = logits.shape[:-1]
        if dense:
            labels = torch.tensor(0.25).expand(logits.shape)
            same = labels.new_full((*rows[:-1], 1000, classes), 0.25)
        else:
            labels = torch.tensor(1).expand(rows)
            same = labels.new_ones((*rows[:-1], 1000))
        weight = torch.tensor(0.5).expand(rows)

        def function(**options: Any) -> Any:
            return fcos_ops.sigmoid_focal_loss(logits, labels, weight=weight, **options)  # noqa: B023

        assert peak_bytes(function) <= COPIES + SMALL
        losses, whole = function(reduction="none"), function()
        expected = fcos_ops.sigmoid_focal_loss(
            logits[..., -1000:, :], same, weight=weight[..., -1000:], reduction="none"
        )
        torch.testing.assert_close(losses[..., -1000:, :], expected, rtol=1e-6, atol=0)
        assert abs(whole - losses.double().sum()) <= 2e-6 * whole


@pytest.mark.parametrize("columns", [4, 2**21], ids=["small", "cut"])
def test_wrong_shapes_are_refused_whether_or_not_inputs_are_cut(columns: int) -> None:
    """By the operators that graphs call: a piece of the wrong tensor would fit."""
    ops = torch.ops.fcos_ops
    half, options = torch.float16, (None, 1.0, 1.0, "sum", False)
    logits = torch.zeros(4, columns)
    for rows in (8, 3):
        with pytest.raises(ValueError, match=rf"target must have shape \[4, {columns}\]"):
            ops.centerness_loss(
                logits, torch.zeros(rows, columns, dtype=half), None, None, *options
            )
    with pytest.raises(ValueError, match="target must have shape"):
        ops.centerness_loss(logits, torch.zeros((), dtype=half), None, None, *options)
    with pytest.raises(ValueError, match="reduction must be one of"):
        target = torch.zeros(4, columns, dtype=half)
        ops.centerness_loss(logits, target, None, None, None, 1.0, 1.0, "Sum", False)
    labels = torch.zeros(columns, 8, dtype=torch.long).t()
    with pytest.raises(ValueError, match="labels must have shape"):
        ops.sigmoid_focal_loss(
            logits[..., None], labels, None, None, 1.0, 1.0, 0.25, 2.0, "sum", False
        )


def test_gradients_of_expanded_inputs() -> None:
    """Of pieces as of the whole."""
    logits = torch.randn(5, 2**20 + 3, requires_grad=True)
    target, labels = torch.rand(5, 1).expand(logits.shape), torch.arange(5)[:, None] - 2
    whole = target.clone(), labels.expand(logits.shape).clone()
    results = []
    for t, chosen in ((target, labels.expand(logits.shape)), whole):
        for x in (logits, logits.half()):
            loss = fcos_ops.centerness_loss(x, t, labels=chosen)
            loss += fcos_ops.sigmoid_focal_loss(x[..., None], t[..., None])
            loss += fcos_ops.sigmoid_focal_loss(x[..., None], chosen.clamp(max=0))
            mean = fcos_ops.centerness_loss(x, t, labels=chosen, reduction="mean")
            results += [loss, mean, *torch.autograd.grad(3 * loss, logits)]
    for found, expected in zip(results[:6], results[6:], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


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
    folders = [Path(REPOSITORY, "csrc", name) for name in ("cpu", "common", "math")]
    sources = [path for folder in folders for path in folder.rglob("*.*")]
    assert sources
    for path in sources:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            code = re.sub(r'"[^"]*"', '""', line.split("//")[0])
            assert not ALLOCATION.search(code), f"{path.name}:{number}: {line}"
