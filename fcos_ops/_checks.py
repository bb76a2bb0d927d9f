"""Argument checks. Each raises a TypeError or ValueError that names the argument, says what came
and what was expected; none reads a tensor's values from a device other than the CPU."""

import math
import reprlib
from collections.abc import Sequence

import torch
from torch import Tensor

FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGER = (torch.int64, torch.int32)
FLOATING_OR_INTEGER = FLOATING + INTEGER
REDUCTIONS = ("none", "sum", "mean")


def _names(dtypes: tuple[torch.dtype, ...]) -> str:
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)


class _Brief(reprlib.Repr):
    """Shortens what is long; a tensor is named by dtype, shape and device, also in a list."""

    def repr_Tensor(self, value: Tensor, level: int) -> str:
        return f"{value.dtype} tensor of shape {tuple(value.shape)} on {value.device}"

    repr_Parameter = repr_Tensor


_BRIEF = _Brief()


def describe(value: object) -> str:
    """A value as an error message shows it: what it is, in brief."""
    if isinstance(value, Tensor):
        return _BRIEF.repr_Tensor(value, 0)
    return f"{type(value).__name__} {_BRIEF.repr(value)}"


def tensor(name: str, value: object, dtypes: tuple[torch.dtype, ...]) -> None:
    """`value` is a strided tensor of one of `dtypes`."""
    if isinstance(value, Tensor) and value.dtype in dtypes and value.layout is torch.strided:
        return
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {describe(value)}")
    if value.dtype not in dtypes:
        raise TypeError(f"{name} must have dtype {_names(dtypes)}, got {describe(value)}")
    raise TypeError(f"{name} must be a dense tensor, got layout {value.layout}")


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
    values = value.tolist()
    if values[0] != 0 or values[-1] != total or values != sorted(values):
        shown = f"{values[:8]}..." if len(values) > 8 else str(values)
        raise ValueError(f"{name} must rise from 0 to {total} and never fall, got {shown}")


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
        raise ValueError(f"{name} is not differentiable but requires a gradient; detach it")


def sequence(name: str, value: object) -> None:
    """`value` is a list, a tuple or the like."""
    if type(value) is list or type(value) is tuple:
        return
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"{name} must be a list or tuple, got {describe(value)}")


def choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """`value` is one of the words in `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {allowed}, got {value!r}")


def boolean(name: str, value: object) -> None:
    """`value` is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, got {describe(value)}")


def number(name: str, value: object, minimum: float = -math.inf, maximum: float = math.inf) -> None:
    """`value` is a real number in [minimum, maximum], not NaN."""
    if type(value) is float and minimum <= value <= maximum:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, got {describe(value)}")
    if not minimum <= value <= maximum:
        raise ValueError(f"{name} must be in [{minimum:g}, {maximum:g}], got {value!r}")


def integer(name: str, value: object, minimum: int) -> None:
    """`value` is a whole number >= minimum, of 64 bits."""
    if isinstance(value, bool) or not isinstance(value, (int, torch.SymInt)):
        raise TypeError(f"{name} must be an int, got {describe(value)}")
    if value < minimum:
        raise ValueError(f"{name} must be >= {minimum}, got {value!r}")
    if value >= 2**63:
        raise ValueError(f"{name} must be < 2^63, got {value!r}")


def normalizer(
    value: object, floor: float, reduction: str, input_name: str, like: Tensor
) -> tuple[Tensor | None, float]:
    """Checks a normalizer of a loss on the device of `like`; returns its tensor or None, and
    the factor that a number means."""
    number("normalizer_floor", floor, 0.0)
    if value is None:
        return None, 1.0
    if reduction == "mean":
        raise ValueError("normalizer goes with reduction 'sum' or 'none', not with 'mean'")
    if isinstance(value, Tensor):
        tensor("normalizer", value, FLOATING_OR_INTEGER)
        if value.numel() != 1:
            raise ValueError(f"normalizer must hold one number, got {describe(value)}")
        same_device("normalizer", value, input_name, like)
        no_gradient("normalizer", value)
        return value, 1.0
    number("normalizer", value)
    assert isinstance(value, (int, float))
    if not (value > 0 and value >= floor and math.isfinite(value)):
        raise ValueError(
            "normalizer must be a finite number > 0, not below normalizer_floor "
            f"({floor:g}), got {value!r}"
        )
    return None, 1.0 / value
