"""The demo's table of ops: every public op is in it, and it notices a wrong result."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fcos.op_report import measure, op_cases, relative_error

import fcos_ops


def test_every_op_is_in_the_table() -> None:
    assert {case.name for case in op_cases()} == set(fcos_ops.reference.__all__)


@pytest.mark.parametrize("case", op_cases(), ids=lambda case: case.name)
def test_ops_agree_with_their_references(case) -> None:  # type: ignore[no-untyped-def]
    row = measure(case._replace(compiles=False), seconds=0.0)
    assert row.error < 1e-4 and row.ours > 0 and row.eager > 0 and row.compiled is None


def test_differences_show() -> None:
    a, b = torch.tensor([1.0, 2, 4]), torch.tensor([1.0, 2, 3])
    assert relative_error([a], [a]) == 0
    assert relative_error([b], [a]) == 0.25
    assert relative_error([a[:2]], [a]) == float("inf")
    assert relative_error([torch.tensor([float("nan")])], [b[:1]]) == float("inf")
    wrong = SimpleNamespace(nms=lambda *_: torch.arange(3))
    nms = next(case for case in op_cases() if case.name == "nms")
    assert relative_error(nms.call(wrong), nms.call(fcos_ops.reference)) > 0  # type: ignore[arg-type]
