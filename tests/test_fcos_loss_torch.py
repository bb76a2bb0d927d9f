"""fcos_loss as a citizen of torch: opcheck, compile, export, autocast, several processes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops
from fcos_ops import Level
from tests.inputs.fcos_loss import LAYOUTS, losses_of, make_problem, op_arguments, to

OPCHECK_CASES = [
    (torch.float32, torch.contiguous_format, (True, True, True)),
    (torch.bfloat16, torch.channels_last, (True, True, False)),
    (torch.float16, torch.contiguous_format, (False, False, False)),
]


@pytest.mark.parametrize("case", OPCHECK_CASES, ids=str)
def test_opcheck(case: Any) -> None:
    dtype, layout, store = case
    problem = to(make_problem(3, (2, 1), ((3, 4), (2, 2)), layout=layout), dtype)
    if dtype == torch.bfloat16:
        for tensor in problem.heads[2]:
            tensor.requires_grad_(False)
    torch.library.opcheck(torch.ops.fcos_ops.fcos_loss.default, op_arguments(problem, store))


def test_opcheck_of_matching() -> None:
    problem = make_problem()
    sizes_and_strides = [n for level in problem.levels for n in level[:4]]
    scales_and_ranges = [n for level in problem.levels for n in level[4:]]
    arguments = (
        *problem.truth,
        sizes_and_strides,
        scales_and_ranges,
        *fcos_ops.ASSIGNMENT_RULES["improved"][:7],
    )
    torch.library.opcheck(torch.ops.fcos_ops.match_locations.default, arguments)


class Loss(torch.nn.Module):
    def __init__(self, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.strides = strides

    def forward(
        self,
        cls_logits: list[Tensor],
        ltrb: list[Tensor],
        centerness: list[Tensor],
        boxes: Tensor,
        labels: Tensor,
        offsets: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        levels = [
            Level(t.shape[2], t.shape[3], s, s, float(s), 0.0, 1e8)
            for t, s in zip(cls_logits, self.strides, strict=True)
        ]
        found = fcos_ops.fcos_loss(
            [2 * t for t in cls_logits],
            [t.exp() for t in ltrb],
            centerness,
            boxes,
            labels,
            offsets,
            levels=levels,
            normalize=lambda counts: counts + 1,
        )
        return found[0], found[1] * 2, found[2]


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
@LAYOUTS
def test_compile(backend: str, layout: torch.memory_format) -> None:
    eager = Loss((8, 16))
    with fcos_ops.backend(backend):
        torch.compiler.reset()
        compiled = torch.compile(eager, fullgraph=True, dynamic=True)
        for sizes, per_image in ((((5, 6), (3, 4)), (2, 1)), (((7, 9), (4, 5)), (3, 0))):
            problem = to(make_problem(4, per_image, sizes, layout=layout), torch.float32)
            leaves = [t for head in problem.heads for t in head]
            results = []
            for function in (eager, compiled):
                losses = function(*problem.heads, *problem.truth)
                results.append([*losses, *torch.autograd.grad(sum(losses), leaves)])
            for a, b in zip(*results, strict=True):
                assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
def test_export(backend: str) -> None:
    problem = to(make_problem(4, (2, 1), ((5, 6), (3, 4))), torch.float32, False)
    with fcos_ops.backend(backend):
        arguments = (*problem.heads, *problem.truth)
        program = torch.export.export(Loss((8, 16)), arguments)
        actual, expected = program.module()(*arguments), Loss((8, 16))(*arguments)
    assert all(torch.allclose(a, b) for a, b in zip(actual, expected, strict=True))


def test_under_autocast() -> None:
    problem = to(make_problem(8, layout=torch.channels_last), torch.float32)
    layer = torch.nn.Conv2d(8, 8, 1)
    with torch.autocast("cpu", torch.bfloat16):
        heads = ([layer(t) for t in problem.heads[0]], *problem.heads[1:])
        losses = losses_of(problem._replace(heads=heads))
    assert losses.classification.dtype == torch.float32
    losses.classification.backward()
    assert layer.weight.grad is not None and layer.weight.grad.isfinite().all()


def test_mean_over_processes_without_processes() -> None:
    counts = torch.tensor([5.0, 2.0])
    assert fcos_ops.mean_over_processes(counts) is counts


def _mean_in_one_of_two(rank: int, store: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2
    )
    counts = torch.tensor([1.0 + 2 * rank, 4.0])
    mean = fcos_ops.mean_over_processes(counts)
    torch.distributed.destroy_process_group()
    assert mean.tolist() == [2.0, 4.0] and counts.tolist() == [1.0 + 2 * rank, 4.0]


def test_mean_over_processes(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_mean_in_one_of_two, (str(tmp_path / "store"),), nprocs=2)
