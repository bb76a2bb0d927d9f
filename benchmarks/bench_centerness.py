"""centerness_loss, forward + backward, over all locations of the canonical problem."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

import fcos_ops
from benchmarks import problem
from benchmarks.bench_iou_loss import run, within
from benchmarks.contenders import compiled
from benchmarks.harness import OURS, Case
from fcos_ops import reference


def cases() -> Iterator[Case]:
    for batch, dtype in problem.variants():
        yield case(batch, dtype)


def case(batch: int, dtype: torch.dtype) -> Case:
    g = problem.generator()
    logits = torch.randn(batch, problem.LOCATIONS, generator=g).to(dtype)
    target = torch.rand(batch, problem.LOCATIONS, generator=g)
    labels = torch.where(torch.rand(logits.shape, generator=g) < 0.01, 1, -1)

    def ours(x: Tensor) -> Tensor:
        return fcos_ops.centerness_loss(x, target, labels=labels)

    def eager(x: Tensor) -> Tensor:
        return reference.centerness_loss(x, target, labels=labels)

    losses: dict[str, Callable[[Tensor], Any]] = {
        OURS: ours,
        "eager": eager,
        "torch.compile": compiled(eager),
    }
    contenders = {name: run(loss, logits) for name, loss in losses.items()}
    size = logits.element_size()
    moved = logits.numel() * (size + 4 + 8 + size)
    tolerance = 1e-4 + problem.rounding(dtype)
    name = problem.with_dtype(f"forward+backward, batch {batch}, 800x1344", dtype)
    return Case("centerness", name, contenders, within(tolerance), None, moved)
