"""The native functions behind the ops with a negative number for every one that they take in turn:
each is a size, an enumeration or a dtype, and none may be negative."""

from random import Random
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from fcos_ops import _native
from tests.hostile import valid
from tests.hostile.calls import Call
from tests.hostile.compare import run
from tests.hostile.findings import DIFFERENCE, Finding
from tests.hostile.odd import Case

BEHIND = 5  # the last arguments, device, stream, threads and workspace, have rules of their own
NEGATIVE = -4


def draw_case(rng: Random) -> Case:
    """Records the native calls of a valid call; makes one number of one of them negative."""
    while True:
        call = valid.draw_call(rng)
        if not (recorded := _recorded(call)):
            continue
        name, arguments = rng.choice(recorded)
        places = [i for i, a in enumerate(arguments[:-BEHIND]) if type(a) is int]
        if places:
            break
    index = rng.choice(places)
    changed = [*arguments]
    changed[index] = NEGATIVE
    shown = {str(i): value for i, value in enumerate(changed)}
    return Call(f"_C.{name}", shown, note=f"argument {index} is {NEGATIVE}"), lambda: _judge(
        name, changed
    )


def _recorded(call: Call) -> list[tuple[str, tuple[Any, ...]]]:
    """The native calls of a call, their tensors kept alive."""
    calls: list[tuple[str, tuple[Any, ...]]] = []

    def record(name: str, device_of: Tensor, *arguments: Any) -> None:
        calls.append((name, (*arguments, *_native.place(device_of), None, 0)))
        original(name, device_of, *arguments)

    original = _native.call
    with mock.patch.object(_native, "call", record):
        run(call)
    return calls


def _judge(name: str, arguments: list[Any]) -> list[Finding]:
    function = getattr(_native._C, name)
    try:
        size = function(*arguments)
        if size:  # it asks for a workspace: a negative number may be refused behind it
            function(*arguments[:-2], torch.empty(size, dtype=torch.uint8), size)
    except (ValueError, TypeError, RuntimeError):
        return []
    return [Finding(DIFFERENCE, f"_C.{name} accepted a negative number")]
