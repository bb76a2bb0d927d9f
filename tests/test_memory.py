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


ALLOCATION = re.compile(r"\b(new|malloc|calloc|realloc|vector|string|make_unique|throw)\b(?!\()")


def test_the_native_library_allocates_and_throws_nothing() -> None:
    for path in [*Path(REPOSITORY, "csrc/cpu").iterdir(), *Path(REPOSITORY, "csrc/math").iterdir()]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            code = line.split("//")[0]
            assert not ALLOCATION.search(code), f"{path.name}:{number}: {line}"
