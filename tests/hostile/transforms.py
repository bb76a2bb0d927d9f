"""Derivatives of higher order or in forward mode, vmap, tracing: right, or an error."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor
from torch.autograd import functional

import fcos_ops
from fcos_ops import reference
from tests.hostile import valid
from tests.hostile.calls import DIFFERENTIABLE as BY_FUNCTION
from tests.hostile.calls import LOSSES, NUM_LOSSES, Call, slots, with_slot
from tests.hostile.compare import Result, difference, exact, flat
from tests.hostile.findings import DIFFERENCE, Finding, judged
from tests.hostile.odd import TORCH_SAYS, Case

LIMIT = 60  # elements of the tensor that is differentiated: a Hessian has its square
# RuntimeError is ours of a second derivative, and torch's of what a transform cannot do, as is
# NotImplementedError. Each must say one of MESSAGES, or name an argument.
ERRORS = (TypeError, ValueError, RuntimeError, NotImplementedError)
MESSAGES = (*TORCH_SAYS, "differentiated only once", "forward AD", "forward-mode AD")
Function = Callable[[Tensor], Tensor]


def draw_case(rng: Random) -> Case:
    if rng.random() < 0.35:
        return _traced(rng)
    while True:
        call = exact(valid.draw_call(rng, rng.choice(LOSSES))).with_tensors(Tensor.detach)
        names = BY_FUNCTION[call.function]
        places = [(s, v) for s, v in slots(call) if s[0] in names and isinstance(v, Tensor)]
        places = [(s, v) for s, v in places if 0 < v.numel() <= LIMIT and v.isfinite().all()]
        if places:
            break
    slot, value = rng.choice(places)
    name = rng.choice(list(_TRANSFORMS))
    call = replace(call, note=f"{name} by {slot}")

    def judge() -> list[Finding]:
        try:
            actual = _TRANSFORMS[name](_total(call, slot, fcos_ops), value)
        except Exception as error:
            return judged(error, call, ERRORS, MESSAGES)
        try:
            wanted = _TRANSFORMS[name](_total(call, slot, reference), value)
        except Exception:
            return []  # there is nothing to compare with
        text = difference(actual, wanted, torch.float32)
        return [Finding(DIFFERENCE, f"{name}: {text}")] if text else []

    return call, judge


def _total(call: Call, slot: Any, module: Any) -> Function:
    """All losses of the call in one number, by the tensor at a slot."""

    def total(value: Tensor) -> Tensor:
        arguments = with_slot(call, slot, value).arguments
        outputs = flat(getattr(module, call.function)(**arguments))
        return sum(loss.sum() for loss in outputs[:NUM_LOSSES])  # type: ignore[return-value]

    return total


def _penalty(backward: bool) -> Callable[[Function, Tensor], Tensor]:
    """The derivative of a gradient's norm by what the input was made of."""

    def transform(function: Function, value: Tensor) -> Tensor:
        base = value.clone().requires_grad_()
        factor = torch.ones((), dtype=value.dtype, requires_grad=True)
        (gradient,) = torch.autograd.grad(function(base * factor), base, create_graph=True)
        norm = gradient.pow(2).sum()
        if backward:
            norm.backward(inputs=[factor])
            return torch.zeros(()) if factor.grad is None else factor.grad
        return torch.autograd.grad(norm, factor)[0]

    return transform


def _tangent(function: Function, value: Tensor) -> Tensor:
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(value, torch.ones_like(value))
        tangent = forward_ad.unpack_dual(function(dual)).tangent
        return torch.zeros((), dtype=value.dtype) if tangent is None else tangent


def _same_batch(function: Function, value: Tensor) -> Tensor:
    return torch.func.vmap(function)(torch.stack([value, value * 0.5]))


_TRANSFORMS: dict[str, Callable[[Function, Tensor], Tensor]] = {
    "gradient penalty": _penalty(False),
    "gradient penalty, backward(inputs=)": _penalty(True),
    "functional.hessian": functional.hessian,
    "functional.jvp": lambda f, x: functional.jvp(f, x, torch.ones_like(x))[1],
    "functional.hvp": lambda f, x: functional.hvp(f, x, torch.ones_like(x))[1],
    "functional.vhp": lambda f, x: functional.vhp(f, x, torch.ones_like(x))[1],
    "functional.jacobian, vectorized": lambda f, x: functional.jacobian(f, x, vectorize=True),
    "forward-mode": _tangent,
    "func.jvp": lambda f, x: torch.func.jvp(f, (x,), (torch.ones_like(x),))[1],
    "func.grad": lambda f, x: torch.func.grad(f)(x),
    "func.grad of func.grad": lambda f, x: torch.func.grad(
        lambda y: torch.func.grad(f)(y).pow(2).sum()
    )(x),
    "func.hessian": lambda f, x: torch.func.hessian(f)(x),
    "func.jacfwd": lambda f, x: torch.func.jacfwd(f)(x),
    "vmap": _same_batch,
    "vmap of func.grad": lambda f, x: torch.func.vmap(torch.func.grad(f))(torch.stack([x, x])),
}


def _traced(rng: Random) -> Case:
    """A trace, replayed on other values, or on twice as many boxes."""
    while True:
        call = valid.draw_call(rng).with_tensors(Tensor.detach)
        if call.tensors() and max(t.numel() for t in call.tensors()) < 3000:
            break
    other = _doubled(call) if "scores" in call.arguments and rng.random() < 0.5 else _flipped(call)
    call = replace(call, note="torch.jit.trace, replayed on other values")

    def judge() -> list[Finding]:
        places = [slot for slot, value in slots(call) if isinstance(value, Tensor)]

        def function(*tensors: Tensor) -> tuple[Any, ...]:
            changed = call
            for slot, tensor in zip(places, tensors, strict=True):
                changed = with_slot(changed, slot, tensor)
            return tuple(flat(changed.run()))

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                traced = torch.jit.trace(function, tuple(call.tensors()), check_trace=False)
            result = Result(flat(traced(*other.tensors())), [])
        except Exception as error:
            return judged(error, call, ERRORS, MESSAGES)
        return [Finding(DIFFERENCE, t) for t in valid.unlike_reference(other, result)]

    return call, judge


def _flipped(call: Call) -> Call:
    """Another order of the rows of the first tensor of floats."""
    for slot, value in slots(call):
        if isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 0:
            return with_slot(call, slot, value.flip(0).roll(1, -1))
    return call


def _doubled(call: Call) -> Call:
    def double(value: Tensor) -> Tensor:
        if value.dim() == 1 and value is call.arguments.get("offsets"):
            return torch.cat([value[:-1], value[-1:] * 2])
        return torch.cat([value, value])

    return call.with_tensors(double)
