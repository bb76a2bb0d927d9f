"""Large outputs on a CPU are advised to huge pages, from their first byte to their last."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import fcos_ops

SMAPS = Path("/proc/self/smaps")
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")

pytestmark = pytest.mark.skipif(
    not (SMAPS.exists() and HUGE_PAGES.exists()),
    reason="the system has no transparent huge pages, or does not show what was advised",
)


def is_advised(address: int) -> bool:
    """Whether huge pages were asked for where `address` lies."""
    inside = False
    for line in SMAPS.read_text().splitlines():
        name, *words = line.split()
        if not name.endswith(":"):
            first, end = (int(bound, 16) for bound in name.split("-"))
            inside = first <= address < end
        elif inside and name == "VmFlags:":
            return "hg" in words
    raise AssertionError(f"no mapping at {address:#x}")


def focal_gradient(megabytes: int) -> Tensor:
    logits = torch.zeros(megabytes, 2**18, requires_grad=True)
    fcos_ops.sigmoid_focal_loss(logits, torch.full((megabytes,), -1)).backward()
    assert logits.grad is not None
    return logits.grad


def whole_loss_gradient(megabytes: int) -> Tensor:
    levels = [fcos_ops.Level(64, 64, 8, 8, 8.0, 0.0, 1e8)]
    logits = torch.zeros(1, 64 * megabytes, 64, 64, requires_grad=True)
    fcos_ops.fcos_loss(
        [logits],
        [torch.ones(1, 4, 64, 64)],
        [torch.zeros(1, 1, 64, 64)],
        torch.zeros(0, 4),
        torch.zeros(0, dtype=torch.int64),
        torch.tensor([0, 0]),
        levels=levels,
    ).classification.backward()
    assert logits.grad is not None
    return logits.grad


def iou_gradient(megabytes: int) -> Tensor:
    boxes = torch.rand(megabytes * 2**16, 4, requires_grad=True)
    fcos_ops.iou_loss(boxes, torch.ones(megabytes * 2**16, 4)).backward()
    assert boxes.grad is not None
    return boxes.grad


@pytest.mark.parametrize("gradient_of", [focal_gradient, whole_loss_gradient, iou_gradient])
def test_a_large_gradient_is_advised_to_its_ends(gradient_of: Callable[[int], Tensor]) -> None:
    gradient = gradient_of(48)  # above all that the allocator keeps for the next call
    first = gradient.data_ptr()
    assert is_advised(first) and is_advised(first + gradient.nbytes - 1)
