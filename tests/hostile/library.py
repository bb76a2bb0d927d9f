"""The native functions behind the ops with one argument that is not as they need it: they check
what they get, whoever calls."""

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

# The last arguments of every native function, which have rules of their own.
CONTEXT = ("device", "stream", "num_threads", "workspace")


def _signatures() -> dict[str, list[tuple[str, str]]]:
    """(name, annotation) of every argument of every native function, but for CONTEXT."""
    stub = Path(inspect.getfile(fcos_ops)).parent / "_C.pyi"
    functions = [f for f in ast.parse(stub.read_text()).body if isinstance(f, ast.FunctionDef)]
    return {
        f.name: [(a.arg, ast.unparse(a.annotation or ast.Constant(""))) for a in f.args.posonlyargs]
        for f in functions
    }


_SIGNATURES = _signatures()


def draw_case(rng: Random) -> Case:
    """Records the native calls of a valid call; breaks one argument of one of them."""
    while not (recorded := _recorded(valid.draw_call(rng))):
        pass
    name, arguments = rng.choice(recorded)
    index = rng.randrange(len(arguments) - len(CONTEXT))
    what, annotation = _SIGNATURES[name][index]
    broken = rng.choice(_broken(arguments[index], annotation, is_first=index == 0))
    changed = [*arguments[:index], broken, *arguments[index + 1 :]]
    names = [*(n for n, _ in _SIGNATURES[name]), *CONTEXT]
    shown = dict(zip(names, changed, strict=True))
    call = Call(f"_C.{name}", shown, note=f"{what} is broken")
    return call, lambda: _judge(call, getattr(_native._C, name))


def _broken(value: Any, annotation: str, is_first: bool) -> list[Any]:
    """What no argument of that annotation may be."""
    if isinstance(value, Tensor):
        choices: list[Any] = [value.to(torch.complex64), torch.zeros(3, 5, 7), 3, "word"]
        # Of the first tensor a shorter one may be right; a last dimension may be a free one.
        if not is_first and value.dim() == 1 and value.numel() > 1 and value.dtype != torch.int64:
            choices.append(value[:-1])
        return choices
    if isinstance(value, (list, tuple)):
        return [3, None, [*value, *value, "word"], ["word"]]
    by_annotation = {"str": ["no such word", None, 1], "bool": [None, "x"], "float": [None, "x"]}
    return by_annotation.get(annotation, ["x", -4 if annotation == "int" else "y"])


def _recorded(call: Call) -> list[tuple[str, tuple[Any, ...]]]:
    """The native calls of a call, their tensors kept alive."""
    calls: list[tuple[str, tuple[Any, ...]]] = []

    def record(name: str, device_of: Tensor, *arguments: Any) -> None:
        calls.append((name, (*arguments, *_native.execution_context(device_of), None)))
        original(name, device_of, *arguments)

    original = _native.call
    with mock.patch.object(_native, "call", record):
        run(call)
    return calls


def _judge(call: Call, function: Any) -> list[Finding]:
    arguments = list(call.arguments.values())
    try:
        size = function(*arguments)
        if size:  # it asks for a workspace: the argument may be refused behind it
            function(*arguments[:-1], torch.empty(size, dtype=torch.uint8))
    except (ValueError, TypeError, BufferError):
        return []
    return [Finding(DIFFERENCE, f"accepted: {call.note}")]
