"""Values that no argument expects, and those that look as if they were what is expected."""

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import numpy
import torch
from torch import Tensor


class Raising:
    """Raises whatever it is asked."""

    def _raise(self, *_: object) -> Any:
        raise RuntimeError("hostile")

    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = _raise  # type: ignore[assignment]
    __len__ = __iter__ = __index__ = __float__ = __hash__ = _raise  # type: ignore[assignment]


class SlyInt(int):
    """A number that compares as its reader likes it."""

    def _true(self, _: object) -> bool:
        return True

    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = _true  # type: ignore[assignment]

    def __ne__(self, _: object) -> bool:
        return False

    __hash__ = int.__hash__


class SlyFloat(float):
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = SlyInt._true  # type: ignore[assignment]
    __hash__ = float.__hash__


class Indexed:
    def __index__(self) -> int:
        return 2


class Word(str):
    pass


def anything(rng: Random) -> Any:
    return rng.choice(
        [
            *("abc", b"sum", 5, 1.5, True, {}, {1}, (), [], [1.0], ["sum"], object(), Raising()),
            *(numpy.zeros(3), numpy.ones((2, 4)), torch.float32, len, 1j, range(3), None),
        ]
    )


def number(rng: Random) -> Any:
    values = [
        *(math.nan, math.inf, -math.inf, 10**400, -(10**400), 2**63, 2**64, -(2**63), 1e39, 1e300),
        *(1e-310, 1e-320, -1, -0.5, 0, 1, 2, True, "1", None, 1j, Fraction(1, 2), Fraction(2)),
        *(Decimal(1), numpy.float32(0.5), numpy.float64(0.5), numpy.int64(1), numpy.array(0.5)),
        *(SlyInt(-3), SlyInt(2**20), SlyInt(10**400), SlyFloat(-2.0), SlyFloat(math.nan)),
        *(Indexed(), torch.tensor(0.5), torch.tensor([1.0, 2.0])),
    ]
    return rng.choice(values) if rng.random() < 0.8 else anything(rng)


def word(rng: Random) -> Any:
    values = [
        *("", "SUM", "sum ", "foo", b"sum", numpy.array(["sum", "none"]), numpy.array([1.0, 2.0])),
        *(numpy.str_("sum"), Word("sum"), Word("foo"), ["sum"], torch.tensor([1, 2]), Raising()),
    ]
    return rng.choice(values) if rng.random() < 0.8 else anything(rng)


def whole_number(rng: Random) -> Any:
    """For sizes and strides: none so large that a result could still be allocated slowly."""
    values = [
        *(-1, 0, 1.5, 8.0, 2**31, 2**31 - 2, 2**40, 2**62, 2**63, 2**64, 10**400, -(10**400)),
        *(math.nan, math.inf, "8", None, True, numpy.int64(8), torch.tensor(8), Fraction(8)),
        *(SlyInt(-5), Indexed(), Raising(), [8]),
    ]
    return rng.choice(values) if rng.random() < 0.8 else SlyInt(2**14)


def tensor(rng: Random, value: Tensor) -> Any:
    """A tensor that is wrong in one way, or something that is none."""
    while True:
        change = rng.choice(_TENSORS)
        try:
            return change(value)
        except (RuntimeError, IndexError, NotImplementedError, TypeError):
            continue  # torch cannot make it of this tensor: another is drawn, none is left out


def _cast(kind: torch.dtype) -> Callable[[Tensor], Tensor]:
    return lambda t: t.detach().to(kind)


_TENSORS: list[Callable[[Tensor], Any]] = [
    *map(_cast, (torch.complex64, torch.complex128, torch.int8, torch.bool, torch.float64)),
    *map(_cast, (torch.float8_e4m3fn, torch.uint16, torch.int64, torch.float32, torch.int32)),
    lambda t: t[None],
    lambda t: t.flatten(),
    lambda t: t.reshape(-1)[:0],
    lambda t: t[0],
    lambda t: t[..., :1],
    lambda t: t[:-1],
    lambda t: torch.cat([t, t]),
    lambda t: torch.cat([t, t], -1),
    lambda t: t.detach().sum(),
    lambda t: t.transpose(0, -1),
    lambda t: t.reshape(-1)[:1].detach().expand(2**40),
    lambda t: t.detach().to("meta"),
    lambda t: t.detach().to_sparse(),
    lambda t: t.detach().to_sparse_csr(),
    lambda t: t.detach().float().to_mkldnn(),
    lambda t: torch.nested.nested_tensor([t.detach(), t.detach()[:1]]),
    lambda t: torch.nested.nested_tensor([t.detach()], layout=torch.jagged),
    lambda t: torch.quantize_per_tensor(t.detach().float(), 0.1, 0, torch.quint8),
    lambda t: t.detach().clone().requires_grad_(),
    lambda t: t.detach().float().numpy(),
    lambda t: t.detach().tolist(),
    lambda t: [t],
    lambda t: (t, t),
    lambda t: None,
    lambda t: 5,
    lambda t: "abc",
    lambda t: Raising(),
    lambda t: type(t),
]
