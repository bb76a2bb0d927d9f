"""sigmoid_focal_loss as a citizen of torch: opcheck, compile, export."""

from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops
from tests.inputs.focal_loss import make_labels

# (dtype, reduction, requires_grad, dense, normalizer)
OPCHECK_CASES = [
    (torch.float32, "sum", True, False, None),
    (torch.float32, "mean", True, True, None),
    (torch.float16, "sum", True, False, 3.0),
    (torch.bfloat16, "none", True, True, 3.0),
    (torch.float64, "none", False, False, None),
]


@pytest.mark.parametrize("case", OPCHECK_CASES, ids=str)
def test_opcheck(case: Any) -> None:
    dtype, reduction, requires_grad, dense, normalizer = case
    logits = torch.randn(2, 5, 3, 4, dtype=dtype).permute(0, 2, 3, 1).requires_grad_(requires_grad)
    labels = make_labels(logits.detach(), dense)
    divisor = None if normalizer is None else torch.tensor(normalizer)
    store = requires_grad and (dtype != torch.float16 or reduction == "none")
    arguments = (logits, labels, None, divisor, 1.0, 1.0, 0.25, 2.0, reduction, store)
    torch.library.opcheck(torch.ops.fcos_ops.sigmoid_focal_loss.default, arguments)


class Loss(torch.nn.Module):
    def forward(self, logits: Tensor, labels: Tensor, normalizer: Tensor) -> Tensor:
        return fcos_ops.sigmoid_focal_loss(logits * 2, labels, normalizer=normalizer) * 3


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
def test_compile_and_export(backend: str) -> None:
    eager, count = Loss(), torch.tensor(3)
    with fcos_ops.backend(backend):
        compiled = torch.compile(eager, fullgraph=True, dynamic=True)
        for rows in (6, 11):
            logits = torch.randn(rows, 5, requires_grad=True)
            labels = torch.randint(-2, 5, (rows,))
            (actual,) = torch.autograd.grad(compiled(logits, labels, count), logits)
            (expected,) = torch.autograd.grad(eager(logits, labels, count), logits)
            assert torch.allclose(actual, expected, atol=1e-6)
        rows = torch.export.Dim("rows")
        shapes = ({0: rows}, {0: rows}, None)
        program = torch.export.export(
            eager, (torch.randn(6, 5), labels[:6], count), dynamic_shapes=shapes
        )
        actual = program.module()(logits.detach(), labels, count)
        assert torch.allclose(actual, eager(logits.detach(), labels, count))
