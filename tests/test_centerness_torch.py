"""The centerness ops as citizens of torch: derivatives, opcheck, compile, export."""

import pytest
import torch
from torch import Tensor

import fcos_ops


def test_gradcheck() -> None:
    logits = torch.randn(6, dtype=torch.float64, requires_grad=True)
    target, labels = torch.rand(6, dtype=torch.float64), torch.tensor([0, -1, 3, 1, -2, 0])
    for reduction in ("sum", "mean", "none"):
        torch.autograd.gradcheck(
            lambda x, r=reduction: fcos_ops.centerness_loss(x, target, labels=labels, reduction=r),
            logits,
        )


def test_second_derivative_raises() -> None:
    logits = torch.randn(6, requires_grad=True)
    loss = fcos_ops.centerness_loss(logits, torch.rand(6))
    (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiated only once"):
        gradient.sum().backward()


def test_opcheck() -> None:
    ops = torch.ops.fcos_ops
    for ltrb in (torch.rand(5, 4), torch.rand(2, 4, 3, 2).permute(0, 2, 3, 1)):
        torch.library.opcheck(ops.centerness_target.default, (ltrb,))
    for dtype, reduction, requires_grad in (
        (torch.float32, "sum", True),
        (torch.float16, "mean", True),
        (torch.bfloat16, "none", True),
        (torch.float64, "sum", False),
    ):
        logits = torch.randn(4, 5, dtype=dtype).t().requires_grad_(requires_grad)
        store = requires_grad and (dtype != torch.float16 or reduction == "none")
        labels = torch.randint(-1, 2, (5, 4))
        arguments = (logits, torch.rand(5, 4), None, labels, None, 1.0, 1.0, reduction, store)
        torch.library.opcheck(ops.centerness_loss.default, arguments)


class Loss(torch.nn.Module):
    def forward(self, logits: Tensor, ltrb: Tensor, labels: Tensor) -> Tensor:
        target = fcos_ops.centerness_target(ltrb * 2)
        return fcos_ops.centerness_loss(logits * 2, target, labels=labels) * 3


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
def test_compile_and_export(backend: str) -> None:
    eager = Loss()
    with fcos_ops.backend(backend):
        compiled = torch.compile(eager, fullgraph=True, dynamic=True)
        for rows in (6, 11):
            logits = torch.randn(rows, requires_grad=True)
            inputs = (torch.rand(rows, 4), torch.randint(-1, 2, (rows,)))
            (actual,) = torch.autograd.grad(compiled(logits, *inputs), logits)
            (expected,) = torch.autograd.grad(eager(logits, *inputs), logits)
            assert torch.allclose(actual, expected, atol=1e-6)
        size = torch.export.Dim("rows")
        example = (torch.randn(6), torch.rand(6, 4), torch.zeros(6, dtype=torch.long))
        program = torch.export.export(eager, example, dynamic_shapes=({0: size},) * 3)
        arguments = (logits.detach(), *inputs)
        assert torch.allclose(program.module()(*arguments), eager(*arguments))
