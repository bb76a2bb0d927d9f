"""What a call gives, what the reference gives in float64, and whether they are the same."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from numbers import Integral, Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fcos_ops import Level, reference
from tests.hostile.calls import LOSSES, NUM_LOSSES, Call, differentiable_tensors, slots

# Relative error by norm. float32: what the suite asks of every op; float64: ten times that, as here
# inputs reach from denormals to 1e30; half types, in which gradients may be stored before they are
# scaled: twice their rounding, which is 2^-11 and 2^-8.
BARS = {
    torch.float64: 1e-12,
    torch.float32: 2e-6,
    torch.float16: 1e-3,
    torch.bfloat16: 8e-3,
}
# Half the distance of the smallest numbers of a type: rounding that no relative bar covers.
SPACING = {torch.float16: 2.0**-25, torch.bfloat16: 2.0**-134, torch.float32: 2.0**-150}
# Where rounding alone is worse than the bar, so may the op be: by this much.
OF_ROUNDING = 8.0


class Result(NamedTuple):
    """Flat outputs, and the gradient of every differentiable tensor that asks for one."""

    outputs: list[Any]
    gradients: list[Tensor | None]

    def tensors(self) -> list[Tensor]:
        return [t for t in (*self.outputs, *self.gradients) if isinstance(t, Tensor)]


def flat(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [leaf for item in value for leaf in flat(item)]
    return [value]


def run(call: Call, function: Callable[..., Any] | None = None, twice: bool = False) -> Result:
    """The outputs of a call, or of another function of the same arguments, and the gradients of
    its losses; with `twice` those of a second pass over the graph that the first one kept."""
    outputs = flat(call.run() if function is None else function(**call.arguments))
    leaves = [t for t in differentiable_tensors(call) if t.requires_grad]
    losses = [(i, o) for i, o in enumerate(outputs[:NUM_LOSSES]) if requires_grad(o)]
    if not leaves or not losses:
        return Result(outputs, [])
    incoming = [_incoming(call, index, loss) for index, loss in losses]
    roots = [loss for _, loss in losses]
    for keep in [True, False] if twice else [False]:
        gradients = torch.autograd.grad(
            roots, leaves, incoming, retain_graph=keep, allow_unused=True
        )
    return Result(outputs, list(gradients))


def requires_grad(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _incoming(call: Call, index: int, loss: Tensor) -> Tensor:
    """A random derivative for an output; the same for the op and for the reference."""
    generator = torch.Generator().manual_seed(call.gradient_seed + index)
    values = torch.randn(loss.shape, generator=generator, dtype=torch.float64)
    return values.to(torch.float32).to(loss.dtype) * call.gradient_scale


def exact(call: Call, dtype: torch.dtype | None = torch.float64) -> Call:
    """The call that the reference shall answer: floats in `dtype` (None: as they are), layouts
    plain, and nothing that has no effect there."""

    def convert(tensor: Tensor) -> Tensor:
        plain = tensor.detach().resolve_neg().clone(memory_format=torch.contiguous_format)
        if dtype is not None and plain.is_floating_point():
            plain = plain.to(dtype)
        return plain.requires_grad_(tensor.requires_grad)

    changed = call.with_tensors(convert)
    arguments = {k: _plain(v) for k, v in changed.arguments.items() if k != "expected_scale"}
    return replace(changed, arguments=arguments)


def _plain(value: Any) -> Any:
    """A number as the public functions hand it to the reference."""
    if isinstance(value, Level):
        return Level(*map(_plain, value))
    if isinstance(value, (list, tuple)) and all(isinstance(level, Level) for level in value):
        return type(value)(map(_plain, value))
    if isinstance(value, Integral) and not isinstance(value, bool):
        plain = int(value)
        return float(plain) if abs(plain) >= 2**63 else plain
    return float(value) if isinstance(value, Real) and type(value) is not bool else value


def expected(call: Call) -> Result:
    """What the reference says: in float64 of losses, whose maths is continuous; in the op's own
    precision where it is part of what the op decides."""
    function = getattr(reference, call.function)
    precise = call.function in LOSSES or call.function == "centerness_target"
    return run(exact(call, torch.float64 if precise else None), function)


def real_dtype(call: Call) -> torch.dtype:
    """In which precision the call can be expected to be right: float64 where all its floats are."""
    floats = {v.dtype for (n, _), v in slots(call) if _counts(n, v)}
    return torch.float64 if floats == {torch.float64} else torch.float32


def _rounded(call: Call) -> Call:
    """The call as eager torch would answer it in its own precision; where that is float64, with its
    inputs moved by a rounding."""

    def move(tensor: Tensor) -> Tensor:
        if tensor.dtype != torch.float64 or not tensor.requires_grad:
            return tensor
        signs = torch.rand_like(tensor.detach()).round() * 2 - 1
        return (tensor.detach() * (1 + signs * 2.0**-52)).requires_grad_()

    return exact(call, None).with_tensors(move)


def _counts(name: str, value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and name != "expected_scale"


def differences(call: Call, actual: Result, wanted: Result) -> list[str]:
    """In what a result is not what the reference gives in float64."""
    found = []
    eager = cache(lambda: run(_rounded(call), getattr(reference, call.function)))
    if len(actual.outputs) != len(wanted.outputs):
        return [f"{len(actual.outputs)} outputs, expected {len(wanted.outputs)}"]
    if len(actual.gradients) != len(wanted.gradients):
        return [f"{len(actual.gradients)} gradients, expected {len(wanted.gradients)}"]
    asks = any(t.requires_grad for t in differentiable_tensors(call))
    if not asks and any(map(requires_grad, wanted.outputs)):
        found.append("the reference differentiates what the op does not")
    real = real_dtype(call)
    for index, (one, other) in enumerate(zip(actual.outputs, wanted.outputs, strict=True)):
        text = difference(one, other, real, lambda i=index: eager().outputs[i])
        found += [f"output {index}: {text}"] if text else []
    for index, (one, other) in enumerate(zip(actual.gradients, wanted.gradients, strict=True)):
        if one is None or other is None:
            one, other = (torch.zeros(()) if t is None or not t.any() else t for t in (one, other))
        kind = one.dtype if one.dtype in SPACING and one.dtype != torch.float32 else real
        text = difference(one, other, kind, lambda i=index: eager().gradients[i], _stretch(call))
        found += [f"gradient {index}: {text}"] if text else []
    return found


def _stretch(call: Call) -> float:
    """A stored gradient is multiplied by what comes over what was expected, its rounding too."""
    expected_scale = call.arguments.get("expected_scale")
    scale = float("nan") if expected_scale is None else float(expected_scale)
    most = 8 * call.gradient_scale  # of the incoming derivatives, which are normal numbers
    return max(1.0, most / scale) if 0 < scale < float("inf") else 1.0


def difference(
    actual: Any,
    wanted: Any,
    precision: torch.dtype,
    eager: Callable[[], Any] | None = None,
    stretch: float = 1.0,
) -> str:
    """What is different, or "". eager: the reference in the op's own precision. stretch: by what
    the roundings of the smallest numbers were multiplied."""
    if not isinstance(actual, Tensor) or not isinstance(wanted, Tensor):
        return "" if actual == wanted else f"{actual!r}, expected {wanted!r}"
    if actual.shape != wanted.shape:
        return f"shape {tuple(actual.shape)}, expected {tuple(wanted.shape)}"
    if not actual.is_floating_point():
        if actual.dtype != wanted.dtype:
            return f"dtype {actual.dtype}, expected {wanted.dtype}"
        return "" if torch.equal(actual, wanted) else _first(actual, wanted, actual != wanted)
    one, other = actual.detach().double(), wanted.detach().double()
    finite = one.isfinite() & other.isfinite()
    odd = _not_finite_alike(one, other, finite, actual.dtype)
    if odd.any() and eager is not None:
        odd &= _not_finite_alike(one, eager().detach().double(), finite, actual.dtype)
    if odd.any():
        return _first(one, other, odd)
    error = _norm(one, other, finite)
    spacing = SPACING.get(actual.dtype, 0.0) * 2 * stretch * actual.numel() ** 0.5
    allowed = BARS[precision] * other[finite].norm().item() + spacing
    if error > allowed and eager is not None:
        close = eager().detach().double()
        allowed += OF_ROUNDING * _norm(close, other, finite & close.isfinite())
    if error > allowed:
        worst = (one - other).abs() == (one - other)[finite].abs().max()
        return f"error {error:.3g} by norm, allowed {allowed:.3g}: {_first(one, other, worst)}"
    return ""


def _norm(one: Tensor, other: Tensor, where: Tensor) -> float:
    return (one - other)[where].norm().item()


def _not_finite_alike(one: Tensor, other: Tensor, finite: Tensor, kind: torch.dtype) -> Tensor:
    """Where not both are finite, and they are not the same NaN or infinity: neither in float64 nor
    once rounded to the type of the result."""
    same = (one == other) | (one.isnan() & other.isnan())
    return ~finite & ~same & ~(one == other.to(kind).double())


def _first(one: Tensor, other: Tensor, where: Tensor) -> str:
    index = tuple(where.nonzero()[0].tolist())
    count = int(where.sum())
    return f"{one[index].item():.9g}, expected {other[index].item():.9g} at {index} ({count} such)"


def same_bits(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return all(
        bits(a) == bits(b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b
        for a, b in zip(one, other, strict=True)
    )


def bits(tensor: Tensor) -> bytes:
    copy = tensor.detach().clone(memory_format=torch.contiguous_format)
    return _as_bytes(copy.untyped_storage())


def memory(call: Call) -> list[bytes]:
    """All that lies in the storages of a call's tensors, around the views too."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in call.tensors()}
    return [_as_bytes(storage) for storage in storages.values()]


def _as_bytes(storage: torch.UntypedStorage) -> bytes:
    return torch.empty(0, dtype=torch.uint8).set_(storage).numpy().tobytes()
