"""The reference of group_norm against numbers worked out by hand, and against torch's."""

import pytest
import torch
import torch.nn.functional as F

from fcos_ops import reference


def test_by_hand() -> None:
    # Two groups of two channels of one location: means 2 and 20, deviations 1 and 10.
    x = torch.tensor([1.0, 3.0, 10.0, 30.0]).reshape(1, 4, 1, 1)
    weight, bias = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.5, 0.0, 0.0, -5.0])
    y = reference.group_norm(x, weight, bias, groups=2, eps=0.0)
    assert torch.equal(y.flatten(), torch.tensor([-0.5, 2.0, -3.0, -1.0]))
    y = reference.group_norm(x, weight, bias, groups=2, eps=0.0, activation="relu")
    assert torch.equal(y.flatten(), torch.tensor([0.0, 2.0, 0.0, 0.0]))


@pytest.mark.parametrize("groups", [1, 3, 12])
def test_as_torch(groups: int) -> None:
    x = torch.randn(2, 12, 5, 4, dtype=torch.float64, requires_grad=True)
    weight, bias = torch.randn(2, 12, dtype=torch.float64, requires_grad=True)
    leaves = (x, weight, bias)
    ours = reference.group_norm(x, weight, bias, groups=groups, activation="relu")
    theirs = F.group_norm(x, groups, weight, bias).relu()
    assert torch.allclose(ours, theirs, rtol=1e-12)
    upstream = torch.randn_like(ours)
    pairs = zip(
        torch.autograd.grad(ours, leaves, upstream),
        torch.autograd.grad(theirs, leaves, upstream),
        strict=True,
    )
    assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-12) for a, b in pairs)


def test_layout_dtype_and_lists() -> None:
    x = torch.randn(2, 4, 3, 3).bfloat16().to(memory_format=torch.channels_last)
    empty = torch.empty(2, 4, 0, 3).bfloat16()
    weight, bias = torch.ones(4), torch.zeros(4)
    first, second = reference.group_norm([x, empty], weight, bias, groups=2)
    assert first.dtype == torch.bfloat16 and first.stride() == x.stride()
    assert second.shape == empty.shape
