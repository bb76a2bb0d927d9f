"""iou_loss as a citizen of torch: opcheck, compile, export."""

from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops

# (dtype of pred, dtype of target, reduction, which require a gradient, normalizer)
OPCHECK_CASES = [
    (torch.float32, torch.float32, "sum", (True, False), None),
    (torch.float32, torch.float32, "mean", (True, True), None),
    (torch.float16, torch.float32, "sum", (True, True), 3.0),
    (torch.bfloat16, torch.bfloat16, "none", (False, True), 3.0),
    (torch.float16, torch.float16, "none", (True, True), None),
    (torch.float64, torch.float32, "none", (False, False), None),
]


@pytest.mark.parametrize("case", OPCHECK_CASES, ids=str)
def test_opcheck(case: Any) -> None:
    *dtypes, reduction, needed, normalizer = case
    pred, target = (
        torch.rand(2, 4, 3, 5, dtype=dtype).permute(0, 2, 3, 1).requires_grad_(needs)
        for dtype, needs in zip(dtypes, needed, strict=True)
    )
    divisor = None if normalizer is None else torch.tensor(normalizer)
    stored = [
        needs and (dtype != torch.float16 or reduction == "none")
        for dtype, needs in zip(dtypes, needed, strict=True)
    ]
    options = (None, divisor, 1e-6, 1.0, "ciou", "ltrb", 1e-7, reduction, *stored)
    torch.library.opcheck(torch.ops.fcos_ops.iou_loss.default, (pred, target, *options))


class Loss(torch.nn.Module):
    def forward(self, pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        options = {"box_format": "ltrb", "weight": weight, "normalizer": weight.sum()}
        loss = fcos_ops.iou_loss(pred * 2, target, **options) * 3
        return loss + fcos_ops.iou_loss(pred, target, kind="ciou", reduction="none").mean()


@pytest.mark.parametrize("backend, compiler", [("native", "inductor"), ("reference", "aot_eager")])
def test_compile_and_export(backend: str, compiler: str) -> None:
    eager = Loss()
    with fcos_ops.backend(backend):
        compiled = torch.compile(eager, fullgraph=True, dynamic=True, backend=compiler)
        for rows in (6, 11):
            pred, target = torch.rand(2, rows, 4, requires_grad=True)
            weight = torch.rand(rows)
            pair = pred.detach().requires_grad_(), target.detach().requires_grad_()
            actual = torch.autograd.grad(compiled(*pair, weight), pair)
            expected = torch.autograd.grad(eager(*pair, weight), pair)
            for a, e in zip(actual, expected, strict=True):
                assert torch.allclose(a, e, rtol=1e-4, atol=1e-6)
        rows = torch.export.Dim("rows")
        program = torch.export.export(
            eager,
            (torch.rand(6, 4), torch.rand(6, 4), torch.rand(6)),
            dynamic_shapes=({0: rows}, {0: rows}, {0: rows}),
        )
        inputs = pair[0].detach(), pair[1].detach(), weight
        assert torch.allclose(program.module()(*inputs), eager(*inputs))
