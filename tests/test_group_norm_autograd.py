"""The derivative of group_norm."""

import pytest
import torch
from torch import Tensor

import fcos_ops
from fcos_ops import reference
from tests.common import assert_near
from tests.inputs.group_norm import ACTIVATIONS, LAYOUTS, make_maps, make_parameters


@LAYOUTS
@ACTIVATIONS
def test_gradcheck(activation: str | None, layout: torch.memory_format) -> None:
    maps = make_maps(((3, 2), (1, 2)), 4, layout=layout)
    leaves = [t.requires_grad_() for t in (*maps, *make_parameters(4))]
    torch.autograd.gradcheck(
        lambda *t: fcos_ops.group_norm(t[:-2], *t[-2:], groups=2, activation=activation), leaves
    )


@pytest.mark.parametrize("needed", range(1, 16))
def test_frozen(needed: int) -> None:
    """Every set of maps, weight and bias that asks for a gradient gets that, and nothing else."""
    leaves = [*make_maps(((5, 4), (2, 3))), *make_parameters()]
    for i, leaf in enumerate(leaves):
        leaf.requires_grad_(bool(needed >> i & 1))
    asked = [leaf for leaf in leaves if leaf.requires_grad]
    results = []
    for function in (fcos_ops.group_norm, reference.group_norm):
        first, second = function(leaves[:2], *leaves[2:], groups=4, activation="relu")
        total = (first * first).sum() + second.sin().sum()
        results.append(torch.autograd.grad(total, asked, allow_unused=True))
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("used", [0, 1])
def test_a_level_that_nobody_uses(used: int) -> None:
    leaves = [t.requires_grad_() for t in (*make_maps(((5, 4), (2, 3))), *make_parameters())]
    results = []
    for function in (fcos_ops.group_norm, reference.group_norm):
        y = function(leaves[:2], *leaves[2:], groups=4)[used]
        results.append(torch.autograd.grad(y.square().sum(), leaves, allow_unused=True))
    for i, (ours, theirs) in enumerate(zip(*results, strict=True)):
        if i == 1 - used:
            assert ours is None and theirs is None
        else:
            assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("map_dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_parameters_of_another_dtype(dtype: torch.dtype, map_dtype: torch.dtype) -> None:
    x = make_maps(((6, 5),))[0].to(map_dtype)
    weight, bias = (p.to(dtype).requires_grad_() for p in make_parameters())
    y = fcos_ops.group_norm(x, weight, bias, groups=4)
    assert y.dtype == map_dtype
    gradients = torch.autograd.grad(y, (weight, bias), torch.ones_like(y))
    doubles = [p.detach().double().requires_grad_() for p in (weight, bias)]
    exact = reference.group_norm(x.double(), *doubles, groups=4)
    expected = torch.autograd.grad(exact, doubles, torch.ones_like(exact))
    assert_near(y.detach(), exact.detach(), map_dtype)
    for actual, right in zip(gradients, expected, strict=True):
        assert actual.dtype == dtype
        assert torch.allclose(actual.double(), right, rtol=1e-2, atol=1e-3)


def test_second_derivative_raises_instead_of_vanishing() -> None:
    leaves = [t.requires_grad_() for t in (*make_maps(((3, 2),)), *make_parameters())]
    y = fcos_ops.group_norm(*leaves, groups=4)
    (gradient,) = torch.autograd.grad(y.square().sum(), leaves[0], create_graph=True)
    with pytest.raises(RuntimeError, match="differentiated only once"):
        (gradient.square().sum() + leaves[0].sum()).backward()


@LAYOUTS
def test_nothing_is_kept_but_maps_and_two_numbers_a_group(layout: torch.memory_format) -> None:
    maps = [x.float() for x in make_maps(((20, 30), (10, 15)), 32, layout=layout)]
    leaves = [t.requires_grad_() for t in (*maps, *(p.float() for p in make_parameters(32)))]
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        fcos_ops.group_norm(leaves[:2], *leaves[2:], groups=8, activation="relu")
    inputs = {leaf.data_ptr() for leaf in leaves}
    others = [tensor for tensor in kept if tensor.data_ptr() not in inputs]
    assert sum(tensor.numel() for tensor in others) == 2 * 2 * 8 * 2  # maps, images, groups


def test_a_map_that_was_changed_is_noticed() -> None:
    x = make_maps(((3, 2),))[0]
    weight, bias = (p.requires_grad_() for p in make_parameters())
    y = fcos_ops.group_norm(x, weight, bias, groups=4)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
