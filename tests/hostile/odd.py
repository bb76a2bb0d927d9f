"""Tensors that are not what they look like: a right result, or an error that names something."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode

from tests.hostile import draw, valid
from tests.hostile.calls import LOSSES, Call, differentiable_tensors, slots, with_slot
from tests.hostile.compare import Result, flat, run
from tests.hostile.findings import DIFFERENCE, Finding, judged

Case = tuple[Call, Callable[[], list[Finding]]]
# What torch itself says of a tensor or of a mode that an op cannot know.
TORCH_SAYS = ("fcos_ops", "Inference tensors cannot be saved for backward", "inference tensor")
# Ours; NotImplementedError is the dispatcher's, of tensors that no kernel is for.
REFUSALS = (TypeError, ValueError, NotImplementedError)


class Subclass(Tensor):
    pass


def draw_case(rng: Random) -> Case:
    kind = rng.choice(_KINDS)
    while True:
        call = valid.draw_call(rng, rng.choice(LOSSES) if kind is _zero_gradient else None)
        if kind is not _zero_gradient or any(t.requires_grad for t in differentiable_tensors(call)):
            if call.tensors() and max(t.numel() for t in call.tensors()) < 10_000:
                return kind(rng, call)


def _case(call: Call, note: str, judge: Callable[[Call], list[Finding]]) -> Case:
    call = replace(call, note=note)
    return call, lambda: judge(call)


def outcome(call: Call, plain: Call, function: Callable[[], Result] | None = None) -> list[Finding]:
    """What is wrong with the odd `call`, of which `plain` says what it means."""
    try:
        result = run(call) if function is None else function()
    except (*REFUSALS, RuntimeError) as error:
        allowed = (
            (*REFUSALS, RuntimeError) if any(t in str(error) for t in TORCH_SAYS) else REFUSALS
        )
        return judged(error, call, allowed, TORCH_SAYS)
    result = Result(*([_plain(t) for t in part] for part in result))
    return [Finding(DIFFERENCE, text) for text in valid.unlike_reference(plain, result)]


def _plain(value: Any) -> Any:
    return value.detach().as_subclass(Tensor) if isinstance(value, Tensor) else value


def _zeros(rng: Random, call: Call) -> Case:
    """A tensor of zeros without memory, as torch's derivatives make them."""
    slot, value = rng.choice([(s, v) for s, v in slots(call) if isinstance(v, Tensor)])
    asks = value.requires_grad
    zeros = torch.zeros(value.shape, dtype=value.dtype).requires_grad_(asks)
    odd = torch._efficientzerotensor(value.shape, dtype=value.dtype).requires_grad_(asks)
    plain = with_slot(call, slot, zeros)
    return _case(
        with_slot(call, slot, odd), f"{slot} is a zero tensor", lambda c: outcome(c, plain)
    )


def _zero_gradient(rng: Random, call: Call) -> Case:
    """Zeros without memory as the gradient that comes; times NaN torch makes them 0."""

    def judge(call: Call) -> list[Finding]:
        outputs = flat(call.run())
        leaves = [t for t in differentiable_tensors(call) if t.requires_grad]
        losses = [o for o in outputs if isinstance(o, Tensor) and o.requires_grad]
        zeros = [torch._efficientzerotensor(o.shape, dtype=o.dtype) for o in losses]
        try:
            gradients = torch.autograd.grad(losses, leaves, zeros, allow_unused=True)
        except Exception as error:
            return judged(error, call, REFUSALS, TORCH_SAYS)
        if any(g is not None and g.nan_to_num(0.0).any() for g in gradients):
            return [Finding(DIFFERENCE, "a gradient of zeros gives another gradient than zeros")]
        return []

    return _case(call, "the gradient that comes is a zero tensor", judge)


def _freed(rng: Random, call: Call) -> Case:
    """A tensor whose storage was resized to nothing, as freed parameters of sharded training."""
    candidates = [(s, v) for s, v in slots(call) if isinstance(v, Tensor) and v.numel() > 0]
    if not candidates:
        return _case(call, "", lambda c: valid.judge(rng, c))
    slot, value = rng.choice(candidates)
    freed = value.detach().clone().requires_grad_(value.requires_grad)
    freed.untyped_storage().resize_(0)

    odd = with_slot(call, slot, freed)
    return _case(odd, f"the storage of {slot} was freed", lambda c: outcome(c, call))


def _negated(rng: Random, call: Call) -> Case:
    """Views that hold the negation of their memory."""
    every = draw.often(rng, 0.5)
    conjugate = draw.often(rng, 0.5)

    def negate(value: Tensor) -> Tensor:
        if (
            not value.is_floating_point()
            or value.requires_grad
            or not (every or draw.often(rng, 0.5))
        ):
            return value
        if conjugate and value.dtype in (torch.float32, torch.float64):
            return torch.complex(torch.zeros_like(value), -value).conj().imag
        return torch._neg_view(-value)

    return _case(call.with_tensors(negate), "neg views", lambda c: outcome(c, call))


def _shapes(call: Call, function: Callable[[], Any]) -> list[Finding]:
    """What is wrong with outputs that have shapes only."""
    wanted = flat(call.run())
    try:
        got = flat(function())
    except DynamicOutputShapeException:
        return []
    except Exception as error:
        return judged(error, call, REFUSALS, TORCH_SAYS)
    shapes = [(o.shape, o.dtype) if isinstance(o, Tensor) else o for o in got]
    right = [(o.shape, o.dtype) if isinstance(o, Tensor) else o for o in wanted]
    return [] if shapes == right else [Finding(DIFFERENCE, f"shapes {shapes}, expected {right}")]


def _meta(rng: Random, call: Call) -> Case:
    odd = call.with_tensors(lambda t: t.to("meta"))
    if call.function in ("nms", "batched_nms"):  # their result has no shape without values
        return _case(odd, "meta", lambda c: _must_raise(c))
    return _case(odd, "meta", lambda c: _shapes(call, c.run))


def _must_raise(call: Call) -> list[Finding]:
    try:
        call.run()
    except Exception as error:
        return judged(error, call, REFUSALS, TORCH_SAYS)
    return [Finding(DIFFERENCE, "accepted")]


def _fake(rng: Random, call: Call) -> Case:
    def function() -> Any:
        with FakeTensorMode() as mode:
            return call.with_tensors(mode.from_tensor).run()

    return _case(call, "fake tensors", lambda c: _shapes(c, function))


def _subclass(rng: Random, call: Call) -> Case:
    odd = call.with_tensors(lambda t: t if draw.often(rng, 0.3) else t.as_subclass(Subclass))
    return _case(odd, "subclasses of Tensor", lambda c: outcome(c, call))


def _parameter(rng: Random, call: Call) -> Case:
    odd = call.with_tensors(lambda t: torch.nn.Parameter(t) if t.requires_grad else t)
    return _case(odd, "parameters", lambda c: outcome(c, call))


def _inference(rng: Random, call: Call) -> Case:
    """Tensors made in inference mode, used outside or inside of it."""

    def convert(value: Tensor) -> Tensor:
        with torch.inference_mode():
            return value if value.requires_grad else value.clone()

    odd = call.with_tensors(convert)
    if draw.often(rng, 0.5):
        return _case(odd, "inference tensors", lambda c: outcome(c, call))
    plain = call.with_tensors(Tensor.detach)

    def function() -> Result:
        with torch.inference_mode():
            return run(odd)

    return _case(odd, "in inference mode", lambda c: outcome(c, plain, function))


def _without_gradients(rng: Random, call: Call) -> Case:
    plain = call.with_tensors(Tensor.detach)

    def function() -> Result:
        with torch.no_grad():
            return run(call)

    return _case(call, "under no_grad", lambda c: outcome(c, plain, function))


def _autocast(rng: Random, call: Call) -> Case:
    def function() -> Result:
        with torch.autocast("cpu", torch.bfloat16):
            return run(call)

    return _case(call, "under autocast", lambda c: outcome(c, c, function))


_KINDS = [
    *(_zeros, _zeros, _zero_gradient, _freed, _negated, _meta, _fake, _subclass, _parameter),
    *(_inference, _without_gradients, _autocast),
]
