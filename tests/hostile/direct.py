"""torch.ops.fcos_ops.* called as the nodes of an exported program are, with arguments that do not
fit: an exception, never a crash and never a result of what is not there."""

from collections.abc import Sequence
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.hostile import draw, valid
from tests.hostile.calls import Call
from tests.hostile.compare import run
from tests.hostile.findings import DIFFERENCE, EXCEPTION, Finding
from tests.hostile.odd import Case

# Ours; and of torch's dispatcher, in front of our kernels: RuntimeError of what does not fit the
# schema, NotImplementedError of tensors that no kernel is for.
ERRORS = (TypeError, ValueError, RuntimeError, NotImplementedError)
LARGE = 1_500_000  # rows: what is read past the end of the others leaves their pages


class _Recorder(TorchDispatchMode):
    """Keeps the calls of ops of the library that pass by."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if op.namespace == "fcos_ops":
            self.calls.append((op, args))
        return op(*args, **(kwargs or {}))


def draw_case(rng: Random) -> Case:
    while True:
        call = valid.draw_call(rng)
        if call.function == "pyramid_levels" or not call.tensors():
            continue
        if max(t.numel() for t in call.tensors()) > 5000:
            continue
        with _Recorder() as recorder:
            run(call)
        if recorder.calls:
            break
    op, arguments = rng.choice(recorder.calls)
    names = [argument.name for argument in op._schema.arguments]
    wrong, must_raise = None, False
    index = 0
    while wrong is None:
        index = rng.randrange(len(arguments))
        wrong, must_raise = _wrong(rng, str(op), names[index], arguments[index])
    changed = (*arguments[:index], wrong[0], *arguments[index + 1 :])
    shown = Call(f"torch.ops.{op}", dict(zip(names, changed, strict=True)), note=names[index])
    return shown, lambda: _judge(op, changed, must_raise)


def _judge(op: Any, arguments: Sequence[Any], must_raise: bool) -> list[Finding]:
    try:
        op(*arguments)
    except ERRORS:
        return []
    except Exception as error:
        return [Finding(EXCEPTION, f"{type(error).__name__}: {str(error)[:300]}")]
    return [Finding(DIFFERENCE, "accepted arguments that do not fit")] if must_raise else []


def _wrong(rng: Random, op: str, name: str, value: Any) -> tuple[list[Any] | None, bool]:
    """[a wrong value], or None where there is none; and whether it must be refused. The offsets of
    images may fit by chance; a tensor alone, or one row of logits, is never of the wrong length."""
    if isinstance(value, Tensor):
        alone = "centerness_target" in op or (name == "logits" and value.dim() < 2)
        return _wrong_tensor(rng, value, name != "offsets" and not alone)
    if isinstance(value, str):
        return [rng.choice(["foo", "", "SUM"])], True
    if isinstance(value, bool):
        return [not value], False
    if isinstance(value, (int, float)):
        return [type(value)(rng.choice([-1, 0, 3, 2**40]))], False
    if isinstance(value, list) and value and isinstance(value[0], Tensor):
        return _wrong_list(rng, value)
    if isinstance(value, (list, tuple)) and value:
        bad = [list(value)[:-1], [*value, *value[:1]], [], [-1 for _ in value]]
        return [rng.choice(bad)], not isinstance(value[0], bool)
    return None, False


def _wrong_tensor(rng: Random, value: Tensor, strict: bool) -> tuple[list[Any] | None, bool]:
    if draw.often(rng, 0.3):
        kind = rng.choice([torch.complex64, torch.int8, torch.bool, torch.float64, torch.int32])
        return [value.detach().to(kind)], kind == torch.complex64
    value = value.detach()
    if draw.often(rng, 0.3) and value.dim() in (1, 2):
        return [value.new_zeros(LARGE, *value.shape[1:])], strict
    shorter = value.reshape(-1)[:0]
    longer = torch.cat([value.reshape(-1), value.new_zeros(7)])
    return [rng.choice([shorter, longer]) if value.numel() else longer], strict


def _wrong_list(rng: Random, values: list[Tensor]) -> tuple[list[Any] | None, bool]:
    how = rng.choice(["shorter", "longer", "item"])
    if how == "shorter":
        return [values[:-1]], True
    if how == "longer":
        return [[*values, values[0]]], True
    index = rng.randrange(len(values))
    wrong, must_raise = _wrong_tensor(rng, values[index], True)
    assert wrong is not None
    return [[*values[:index], wrong[0], *values[index + 1 :]]], must_raise
