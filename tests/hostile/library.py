"""The native functions behind the ops with a negative number for every whole one that they take in
turn: each is a size, an enumeration or a dtype, and none may be negative."""

import ast
import inspect
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import fcos_ops
from fcos_ops import _native
from tests.hostile import valid
from tests.hostile.calls import Call
from tests.hostile.compare import run
from tests.hostile.findings import DIFFERENCE, Finding
from tests.hostile.odd import Case

BEHIND = 5  # the last arguments, device, stream, threads and workspace, have rules of their own
NEGATIVE = -4


def _signatures() -> dict[str, list[tuple[str, str]]]:
    """(name, annotation) of every argument of every native function."""
    stub = Path(inspect.getfile(fcos_ops)).parent / "_C.pyi"
    functions = [f for f in ast.parse(stub.read_text()).body if isinstance(f, ast.FunctionDef)]
    return {
        f.name: [(a.arg, ast.unparse(a.annotation or ast.Constant(""))) for a in f.args.posonlyargs]
        for f in functions
    }


_SIGNATURES = _signatures()


def draw_case(rng: Random) -> Case:
    """Records the native calls of a valid call; makes one number of one of them negative. Channels
    and dtype behind a tensor that is not given say nothing."""
    while True:
        if not (recorded := _recorded(valid.draw_call(rng))):
            continue
        name, arguments = rng.choice(recorded)
        signature = _SIGNATURES[name][:-BEHIND]
        whole = [i for i, (_, annotation) in enumerate(signature) if annotation == "int"]
        if places := [i for i in whole if not any(map(_is_absent, arguments[max(i - 2, 0) : i]))]:
            break
    index = rng.choice(places)
    changed = [*arguments[:index], NEGATIVE, *arguments[index + 1 :]]
    shown = dict(zip([n for n, _ in _SIGNATURES[name]], changed, strict=True))
    call = Call(f"_C.{name}", shown, note=f"{signature[index][0]} is {NEGATIVE}")
    return call, lambda: _judge(call, getattr(_native._C, name))


def _is_absent(argument: Any) -> bool:
    return argument is None or (isinstance(argument, tuple) and not argument)


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


def _judge(call: Call, function: Any) -> list[Finding]:
    arguments = list(call.arguments.values())
    try:
        size = function(*arguments)
        if size:  # it asks for a workspace: the number may be refused behind it
            function(*arguments[:-2], torch.empty(size, dtype=torch.uint8), size)
    except (ValueError, TypeError, RuntimeError):
        return []
    return [Finding(DIFFERENCE, f"accepted: {call.note}")]
