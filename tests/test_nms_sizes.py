"""nms and batched_nms on many boxes, and on numbers around those at which kernels cut work: warps,
groups of 64, rounds of 4096."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fcos_ops
from tests.inputs.nms import (
    assert_batched_nms,
    assert_nms,
    bars,
    clustered,
    corners,
    identical,
    integral,
    tied,
    uniform,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.every_device
@pytest.mark.parametrize("layout", [clustered, integral, uniform])
def test_sizes_around_warps_and_groups(layout: Callable[[int], Tensor]) -> None:
    for n in (1, 2, 3, 31, 32, 33, 63, 64, 65, 127, 128, 129, 511, 513, 1025):
        assert_nms(layout(n), tied(n), 0.4)
        assert_batched_nms(layout(n), tied(n).double(), torch.randint(0, 3, (n,)), 0.4)


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reach", [1, 3])
@pytest.mark.parametrize("n", [70, 4097, 8200])
def test_chains(n: int, reach: int, dtype: torch.dtype) -> None:
    """Each box overlaps those up to `reach` behind it, so whether it stays hangs on all before."""
    left = torch.arange(n, dtype=dtype) * (3.0 if reach == 1 else 1.0)
    boxes = torch.stack([left, left * 0, left + 10, left * 0 + 10], 1)
    order = torch.randperm(n)
    scores = torch.empty(n)
    scores[order] = torch.arange(n, 0, -1).float()
    shuffled = torch.empty_like(boxes)
    shuffled[order] = boxes
    expected = order[:: reach + 1]
    assert torch.equal(fcos_ops.nms(shuffled, scores.to(dtype), 0.5), expected)


@pytest.mark.every_device
def test_all_suppressed_and_none() -> None:
    n = 4200
    assert fcos_ops.nms(identical(n), torch.zeros(n), 0.5).tolist() == [0]
    apart = corners(torch.arange(n)[:, None] * torch.tensor([2.0, 0.0]), torch.ones(n, 2))
    assert torch.equal(fcos_ops.nms(apart, torch.zeros(n), 0.0), torch.arange(n))
    assert torch.equal(fcos_ops.nms(identical(n), torch.zeros(n), 1.0), torch.arange(n))


@pytest.mark.every_device
@pytest.mark.parametrize("n", [4095, 4096, 4097])
@pytest.mark.parametrize("layout", [clustered, bars])
def test_thousands(n: int, layout: Callable[[int], Tensor]) -> None:
    assert_batched_nms(layout(n), tied(n), torch.randint(0, 80, (n,)), 0.5)
    assert_nms(clustered(n)[torch.randint(0, 40, (n,))], tied(n), 0.5)


def test_300_000() -> None:
    n = 300_000
    places = corners(torch.rand(40, 2) * 1000, torch.rand(40, 2) * 99 + 1)
    boxes = places[torch.randint(0, 40, (n,))]
    assert_batched_nms(boxes, torch.rand(n), torch.randint(0, 20, (n,)), 0.5)
    apart = corners(torch.arange(n)[:, None] * torch.tensor([2.0, 0.0]), torch.ones(n, 2))
    assert len(fcos_ops.nms(apart, torch.rand(n), 0.5)) == n
