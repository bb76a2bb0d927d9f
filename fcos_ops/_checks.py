"""Argument checks. Each raises a TypeError or ValueError "x must be ..., got ..."; none reads a
tensor's values from a device other than the CPU.

A number may be any `numbers.Real` (int, float, their subclasses, numpy scalars, Fraction), a whole
one any `numbers.Integral`, but no bool, Decimal or tensor. It is converted once, to a plain Python
number, which is checked and which alone is used from there on.
"""

import math
import reprlib
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGER = (torch.int64, torch.int32)
FLOATING_OR_INTEGER = FLOATING + INTEGER
_SMALLEST_NORMAL = torch.finfo(torch.float32).tiny  # 1 / x is finite from it on


def _names(dtypes: tuple[torch.dtype, ...]) -> str:
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)


class _Brief(reprlib.Repr):
    """Shortens what is long; a tensor is named by dtype, shape and device, also in a list."""

    def repr_Tensor(self, value: Tensor, level: int) -> str:
        return f"{value.dtype} tensor of shape {tuple(value.shape)} on {value.device}"

    repr_Parameter = repr_Tensor

    def repr_int(self, value: int, level: int) -> str:
        # Python refuses to write out numbers of thousands of digits.
        return super().repr_int(value, level) if abs(value) < 2**1000 else "beyond 2^1000"


_BRIEF = _Brief()


def describe(value: object) -> str:
    """A value as an error message shows it: what it is, in brief."""
    if isinstance(value, Tensor):
        return _BRIEF.repr_Tensor(value, 0)
    return f"{type(value).__name__} {_BRIEF.repr(value)}"


def tensor(name: str, value: object, dtypes: tuple[torch.dtype, ...]) -> None:
    """`value` is a strided tensor of one of `dtypes`."""
    if (
        isinstance(value, Tensor)
        and value.dtype in dtypes
        and value.layout is torch.strided
        and not value.is_nested
    ):
        return
    if not isinstance(value, Tensor):
        hint = ""
        if type(value).__name__ == "Proxy":
            hint = "; torch.fx.symbolic_trace records the op after torch.fx.wrap, or torch.export"
        raise TypeError(f"{name} must be a torch.Tensor, got {describe(value)}{hint}")
    if value.is_nested or value.layout is not torch.strided:
        kind = "a nested one" if value.is_nested else f"layout {value.layout}"
        raise TypeError(f"{name} must be a dense tensor, got {kind}")
    raise TypeError(f"{name} must have dtype {_names(dtypes)}, got {describe(value)}")


def shape(name: str, value: Tensor, expected: tuple[int, ...], why: str) -> None:
    """`value` has exactly the shape `expected`."""
    if value.shape != expected:
        raise ValueError(f"{name} must have shape {tuple(expected)} ({why}), got {describe(value)}")


def boxes(name: str, value: Tensor, dimensions: int | None = None) -> None:
    """`value` is [..., 4], of `dimensions` dimensions where given."""
    shape = value.shape
    if not shape or shape[-1] != 4 or dimensions not in (None, len(shape)):
        expected = "[N, 4]" if dimensions == 2 else "[..., 4]"
        raise ValueError(f"{name} must have shape {expected}, got {describe(value)}")


def offsets(name: str, value: Tensor, total: int) -> None:
    """On a CPU: `value`, [B + 1], runs from 0 to `total` and does not fall. Elsewhere not read."""
    if not value.is_cpu:
        return
    if value.numel() <= 256:  # a list is quicker
        values = value.tolist()
        rises = values[0] == 0 and values[-1] == total and values == sorted(values)
    else:
        part = value if value.stride(0) else value[:1]  # one number, however often it is repeated
        rises = bool(part[0] == 0 and part[-1] == total and (part[:-1] <= part[1:]).all())
    if not rises:
        shown = f"{value[:8].tolist()}..." if len(value) > 8 else str(value.tolist())
        raise ValueError(f"{name} must rise from 0 to {total} and never fall, got {shown}")


def offsets_of_images(value: Tensor, boxes: Tensor) -> None:
    """`value` is [B + 1], of whole numbers, and lives where `boxes` do; see `offsets`."""
    tensor("offsets", value, INTEGER)
    if value.dim() != 1 or value.shape[0] == 0:
        raise ValueError(f"offsets must have shape [B + 1], got {describe(value)}")
    same_device("offsets", value, "boxes", boxes)


def same_device(name: str, value: Tensor, reference_name: str, reference: Tensor) -> None:
    """`value` lives where `reference` does."""
    if value.device != reference.device:
        raise ValueError(
            f"{name} must be on the device of {reference_name}, {reference.device}, "
            f"got {describe(value)}"
        )


def no_gradient(name: str, value: Tensor) -> None:
    """`value` does not ask for a gradient that the op would not give."""
    if value.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"{name} must not require a gradient, as the op gives it none (detach it), "
            f"got {describe(value)}"
        )


def sequence(name: str, value: object) -> None:
    """`value` is a list, a tuple or the like."""
    if type(value) is list or type(value) is tuple:
        return
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise TypeError(f"{name} must be a list or tuple, got {describe(value)}")


def choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """`value` is one of the words in `allowed`."""
    if type(value) is not str:
        raise TypeError(f"{name} must be one of {allowed}, got {describe(value)}")
    if value not in allowed:
        raise ValueError(f"{name} must be one of {allowed}, got {value!r}")


def boolean(name: str, value: object) -> None:
    """`value` is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, got {describe(value)}")


def number(
    name: str, value: object, minimum: float = -math.inf, maximum: float = math.inf
) -> float:
    """`value` as a float in [minimum, maximum], not NaN."""
    if type(value) is float and minimum <= value <= maximum:
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, Real)):
        raise TypeError(f"{name} must be a number, got {describe(value)}")
    try:
        plain = float(value)
    except OverflowError:
        message = f"{name} must be a number that a double holds, got {describe(value)}"
        raise ValueError(message) from None
    if not minimum <= plain <= maximum:
        raise ValueError(f"{name} must be in [{minimum:g}, {maximum:g}], got {plain!r}")
    return plain


def integer(name: str, value: object, minimum: int, maximum: int = 2**63 - 1) -> int:
    """`value` as an int in [minimum, maximum]; what a tracer made of one stays symbolic."""
    plain: Any = value
    if type(value) is not int and not isinstance(value, torch.SymInt):
        if isinstance(value, bool) or not isinstance(value, (int, Integral)):
            hint = ""
            if isinstance(value, Tensor) and torch.jit.is_tracing():
                hint = "; it must be a plain number, as under torch.export, unlike torch.jit.trace"
            raise TypeError(f"{name} must be an int, got {describe(value)}{hint}")
        plain = int(value)
    # For a symbolic number the maximum would become one of its graph; kernels check what they get.
    symbolic = torch.compiler.is_dynamo_compiling() or type(plain) is not int
    if plain >= minimum and (symbolic or plain <= maximum):
        return plain
    raise ValueError(f"{name} must be in [{minimum}, {maximum}], got {describe(plain)}")


def normalizer(
    value: object, floor: float, reduction: str, input_name: str, like: Tensor
) -> tuple[Tensor | None, float, float]:
    """Checks a normalizer of a loss on the device of `like`; returns its tensor or None, the floor,
    and the factor that a number means."""
    floor = number("normalizer_floor", floor, 0.0)
    if value is None:
        return None, floor, 1.0
    if reduction == "mean":
        raise ValueError("normalizer must be None with reduction 'mean', got " + describe(value))
    if isinstance(value, Tensor):
        tensor("normalizer", value, FLOATING_OR_INTEGER)
        if value.numel() != 1:
            raise ValueError(f"normalizer must hold one number, got {describe(value)}")
        same_device("normalizer", value, input_name, like)
        no_gradient("normalizer", value)
        return value, floor, 1.0
    plain = number("normalizer", value)
    if not (plain >= floor and plain >= _SMALLEST_NORMAL and plain < math.inf):
        raise ValueError(
            f"normalizer must be a finite number >= {_SMALLEST_NORMAL:.2g}, not below "
            f"normalizer_floor ({floor:g}), got {plain!r}"
        )
    return None, floor, 1.0 / plain
