"""Derivatives that the ops do not have raise, whichever way they are asked for."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as fw
from torch import Tensor

import fcos_ops
from tests.inputs.every_op import DIFFERENTIABLE, EVERY_OP, REDUCED

ONCE = "can be differentiated only once"
FORWARD = r"forward-mode derivatives, but \w+ has a tangent"
N = 4


def inputs_of(name: str, dtype: torch.dtype) -> list[Tensor]:
    return [t.to(dtype) if t.is_floating_point() else t for t in EVERY_OP[name].make(N)]


def of_first(
    name: str, dtype: torch.dtype = torch.float64
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """(a scalar function of the op's first input, computed in dtype; that input in float64)."""
    first, *others = inputs_of(name, dtype)

    def function(x: Tensor) -> Tensor:
        results = EVERY_OP[name].run(x.to(dtype), *others)
        return sum(r.double().sum() for r in results if r.requires_grad)

    return function, first.double()


def gradient_of(name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """(derivative by an input that is a product, with its graph; the factors of the product)."""
    first, *others = inputs_of(name, dtype)
    x, factor = first.requires_grad_(), torch.ones_like(first).requires_grad_()
    results = EVERY_OP[name].run(x * factor, *others)
    total = sum((r * r).sum() for r in results if r.requires_grad)
    (gradient,) = torch.autograd.grad(total, x, create_graph=True)
    return gradient, x, factor


# In float32 the gradient is stored by the forward pass, in float16 it is computed again.
@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_second_derivative_raises_on_every_path(
    name: str, dtype: torch.dtype, device: str
) -> None:
    for wanted in (0, 1):
        gradient, *leaves = gradient_of(name, dtype)
        penalty = gradient.pow(2).sum()
        with pytest.raises(RuntimeError, match=ONCE):
            torch.autograd.grad(penalty, leaves[wanted], retain_graph=True)
        with pytest.raises(RuntimeError, match=ONCE):
            penalty.backward(inputs=[leaves[wanted]], retain_graph=True)
        with pytest.raises(RuntimeError, match=ONCE):
            penalty.backward()


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_the_first_derivative_is_right_where_its_graph_is_wanted(name: str) -> None:
    function, x = of_first(name)
    x.requires_grad_()
    (expected,) = torch.autograd.grad(function(x), x)
    (actual,) = torch.autograd.grad(function(x), x, create_graph=True)
    assert actual.requires_grad and torch.equal(actual, expected)
    assert not expected.requires_grad


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_functional_second_derivatives_raise(name: str) -> None:
    function, x = of_first(name)
    functional = torch.autograd.functional
    with pytest.raises(RuntimeError, match=ONCE):
        torch.autograd.gradgradcheck(function, (x.clone().requires_grad_(),))
    with pytest.raises(RuntimeError, match=ONCE):
        functional.hessian(function, x)
    for product in (functional.hvp, functional.vhp, functional.jvp):  # jvp differentiates twice
        with pytest.raises(RuntimeError, match=ONCE):
            product(function, x, torch.ones_like(x))


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("name", DIFFERENTIABLE + ["centerness_target", "assign_targets"])
def test_a_tangent_raises(name: str, requires_grad: bool) -> None:
    op = EVERY_OP[name]
    inputs = op.make(N)
    for i in range(op.differentiable or 1):
        with fw.dual_level():
            dual = fw.make_dual(inputs[i], torch.ones_like(inputs[i]))
            others = list(inputs)
            others[i] = dual.requires_grad_() if requires_grad and op.differentiable else dual
            with pytest.raises(RuntimeError, match=FORWARD):
                op.run(*others)


def test_a_tangent_of_postprocess_raises() -> None:
    inputs = list(EVERY_OP["postprocess"].make(1))
    with fw.dual_level():
        inputs[0] = fw.make_dual(inputs[0], torch.ones_like(inputs[0]))
        with pytest.raises(RuntimeError, match=FORWARD):
            EVERY_OP["postprocess"].run(*inputs)


def test_boxes_with_a_tangent_are_suppressed_as_others() -> None:
    boxes, scores = EVERY_OP["nms"].make(9)
    keep = fcos_ops.nms(boxes, scores, 0.5)
    with fw.dual_level():
        dual = fw.make_dual(boxes, torch.ones_like(boxes))
        assert torch.equal(fcos_ops.nms(dual, scores, 0.5), keep)
        assert fw.unpack_dual(dual[keep]).tangent is not None


@pytest.mark.parametrize("name", REDUCED)
def test_vmap_is_refused_by_name(name: str) -> None:
    op = EVERY_OP[name]
    inputs = op.make(N)
    stacked = torch.stack([inputs[0], inputs[0]])
    with pytest.raises(RuntimeError, match=r"fcos_ops\.\w+ does not support .*torch\.vmap"):
        torch.vmap(lambda x: op.run(x, *inputs[1:])[0])(stacked)


@pytest.mark.parametrize("transform", [torch.func.grad, torch.func.hessian, torch.func.jacrev])
def test_transforms_of_torch_func_are_refused_by_name(transform: Any) -> None:
    function, x = of_first("sigmoid_focal_loss")
    with pytest.raises(RuntimeError, match=r"fcos_ops\.sigmoid_focal_loss does not support"):
        transform(lambda x: fcos_ops.sigmoid_focal_loss(x, torch.zeros(N, dtype=torch.long)))(x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
@pytest.mark.parametrize("name", REDUCED)
def test_vectorised_jacobians_are_those_of_a_loop(name: str, dtype: torch.dtype) -> None:
    function, x = of_first(name, dtype)
    jacobian = torch.autograd.functional.jacobian

    def twice(x: Tensor) -> Tensor:
        loss = function(x)
        return torch.stack([loss, 3 * loss])

    if name == "fcos_loss" and dtype == torch.float16:  # a gradient that is computed again
        with pytest.raises(RuntimeError, match="fcos_ops.fcos_loss_backward does not support"):
            jacobian(twice, x, vectorize=True)
        return
    expected = jacobian(twice, x)
    assert torch.equal(jacobian(twice, x, vectorize=True), expected)
    assert expected.abs().sum() > 0
