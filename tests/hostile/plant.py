"""Faults to plant into the public functions, so that it can be seen that each is found."""

import ctypes
import inspect
import itertools
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import fcos_ops
from tests.hostile.valid import DRAWS

_ORIGINALS = {name: getattr(fcos_ops, name) for name in DRAWS}
_counter = itertools.count(1)
Function = Callable[..., Any]


def install(index: int) -> None:
    """Gives every public function the fault that goes with the number of the call."""
    fault = _FAULTS[index % len(_FAULTS)]
    for name, original in _ORIGINALS.items():
        planted = fault if index < len(_FAULTS) or fault not in _SLOW else _none
        setattr(fcos_ops, name, _wrapped(original, planted))


def remove() -> None:
    for name, original in _ORIGINALS.items():
        setattr(fcos_ops, name, original)


def _wrapped(original: Function, fault: Callable[[Function, dict[str, Any]], Any]) -> Function:
    def planted(*args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(original).bind(*args, **kwargs)
        return fault(lambda: original(*args, **kwargs), bound.arguments)

    planted.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
    return planted


def _none(function: Function, _: dict[str, Any]) -> Any:
    return function()


def _crash(function: Function, _: dict[str, Any]) -> Any:
    return ctypes.string_at(0)


def _hang(function: Function, _: dict[str, Any]) -> Any:
    return time.sleep(1e6)


def _type(function: Function, _: dict[str, Any]) -> Any:
    raise KeyError("planted")


def _message(function: Function, _: dict[str, Any]) -> Any:
    raise ValueError("bad input")


def _difference(function: Function, _: dict[str, Any]) -> Any:
    return _added(function(), 1)


def _modified(function: Function, arguments: dict[str, Any]) -> Any:
    result = function()
    for value in arguments.values():
        if isinstance(value, Tensor) and value.is_floating_point():
            value.detach().zero_()
    return result


def _shared(function: Function, arguments: dict[str, Any]) -> Any:
    function()
    return next(v for v in arguments.values() if isinstance(v, Tensor))


def _threads(function: Function, _: dict[str, Any]) -> Any:
    return _added(function(), torch.get_num_threads())


def _runs(function: Function, _: dict[str, Any]) -> Any:
    return _added(function(), next(_counter))


def _added(result: Any, number: int) -> Any:
    if isinstance(result, Tensor):
        return result + number
    if isinstance(result, tuple) and isinstance(result[0], Tensor):
        return (result[0] + number, *result[1:])
    return result


_FAULTS = (
    *(_crash, _hang, _type, _message, _difference),
    *(_modified, _shared, _threads, _runs),
)
_SLOW = (_crash, _hang)
