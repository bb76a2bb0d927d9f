"""What csrc/bindings reads is what `_C.pyi` says: names, order and kinds of all arguments.

Each native function is called with arguments that it takes, but for one that is of no kind at all:
the error then says what was read in that place.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple
from unittest import mock

import pytest

from fcos_ops import _constants, _native
from tests.inputs.every_op import DIFFERENTIABLE, EVERY_OP
from tests.repository import REPOSITORY

NO_KIND = object()
EXPECTED = {
    "Tensor": "a torch.Tensor",
    "Tensors": "a tuple or list",
    "LevelSizesAndStrides": "a tuple or list",
    "LevelScalesAndRanges": "a tuple or list",
    "bool": "a bool",
    "int": "an int of 64 bits",
    "float": "a number",
    "str": "one of",
}


class Argument(NamedTuple):
    name: str
    kind: str
    optional: bool


CONTEXT = [
    Argument("device", "int", False),
    Argument("stream", "int", False),
    Argument("num_threads", "int", False),
    Argument("workspace", "Tensor", True),
]


def declared() -> Iterator[tuple[str, list[Argument]]]:
    """The functions of `_C.pyi` that take arguments."""
    for node in ast.parse((REPOSITORY / "fcos_ops/_C.pyi").read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.args.posonlyargs:
            arguments = []
            for argument in node.args.posonlyargs:
                kind, *none = ast.unparse(argument.annotation or ast.Constant("")).split(" | ")
                arguments.append(Argument(argument.arg, kind, none == ["None"]))
            yield node.name, arguments + CONTEXT


FUNCTIONS = dict(declared())


@cache
def calls() -> dict[str, tuple[Any, ...]]:
    """What each function is called with in a call that succeeds."""
    found: dict[str, tuple[Any, ...]] = {}

    class Recorder:
        def __getattr__(self, name: str) -> Any:
            function = getattr(library, name)

            def recorded(*arguments: Any) -> Any:
                result = function(*arguments)
                found.setdefault(name, arguments)
                return result

            return recorded

    library = _native._C
    with mock.patch.object(_native, "_C", Recorder()):
        for name, op in EVERY_OP.items():
            inputs = op.make(6)
            for tensor in inputs[: op.differentiable]:
                tensor.requires_grad_()
            results = op.run(*inputs)
            if name in DIFFERENTIABLE:
                sum(2 * result.sum() for result in results if result.requires_grad).backward()
    return found


def refusal(function: str, place: int, value: Any) -> str:
    arguments = list(calls()[function])
    arguments[place] = value
    try:
        getattr(_native._C, function)(*arguments)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


def test_every_function_is_declared_and_called() -> None:
    bound = {name for name in dir(_native._C) if not name.startswith("_")} - {"build_info"}
    assert bound == FUNCTIONS.keys() == calls().keys()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_names_order_and_kinds(function: str) -> None:
    arguments = FUNCTIONS[function]
    assert len(calls()[function]) == len(arguments)
    for place, argument in enumerate(arguments):
        message = refusal(function, place, NO_KIND)
        assert message.startswith(f"{argument.name} must be {EXPECTED[argument.kind]}"), argument
        missing = refusal(function, place, None)
        is_refused = missing.startswith(f"{argument.name} must be {EXPECTED[argument.kind]}")
        assert is_refused != argument.optional, argument


@pytest.mark.parametrize("function", FUNCTIONS)
def test_words(function: str) -> None:
    for place, argument in enumerate(FUNCTIONS[function]):
        if argument.kind == "str":
            words = re.search(r"one of (\(.*?\))", refusal(function, place, NO_KIND))
            assert words is not None
            assert ast.literal_eval(words[1]) == _constants.WORDS[argument.name]


@pytest.mark.skipif(
    _native.unavailable_reason("cuda") is None, reason="this library has drivers for CUDA"
)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_library_without_cuda_says_so(function: str) -> None:
    """Given a device, each op is refused by its name, and runs nothing on the CPU in its stead."""
    arguments = [*calls()[function][: -len(CONTEXT)], 0, 0, 1, None]
    with pytest.raises(RuntimeError, match=f"^{function}: this library was built without CUDA"):
        getattr(_native._C, function)(*arguments)
