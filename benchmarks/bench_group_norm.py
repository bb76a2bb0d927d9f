"""group_norm with ReLU of the five levels of FCOS's head, 256 channels in 32 groups: forward and
backward, in both layouts."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import fcos_ops
from benchmarks import problem
from benchmarks.contenders import compiled
from benchmarks.harness import OURS, Case

CHANNELS, GROUPS = 256, 32
LAYOUTS = {
    "channels_last": (torch.channels_last, 1.5),
    "NCHW": (torch.contiguous_format, 1.2),
}

Maps = list[Tensor]


def ours(maps: Maps, weight: Tensor, bias: Tensor) -> Maps:
    return fcos_ops.group_norm(maps, weight, bias, groups=GROUPS, activation="relu")


def of_torch(maps: Maps, weight: Tensor, bias: Tensor) -> Maps:
    return [F.relu_(F.group_norm(x, GROUPS, weight, bias)) for x in maps]


def agree(ours: Any, theirs: Any) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).float().norm() <= 1e-2 * b.float().norm()


def cases() -> Iterator[Case]:
    batch, g = problem.batch(), problem.generator()
    dtype = torch.float32 if batch == 2 else torch.bfloat16
    weight = torch.rand(CHANNELS, generator=g) + 0.5
    bias = torch.randn(CHANNELS, generator=g)
    for layout_name, (layout, target) in LAYOUTS.items():
        maps, upstream = (
            [
                torch.randn(batch, CHANNELS, h, w, generator=g).to(dtype, memory_format=layout)
                for h, w in problem.SIZES
            ]
            for _ in range(2)
        )

        def run(
            function: Callable[..., Maps], maps: Maps = maps, upstream: Maps = upstream
        ) -> Callable[[], Any]:
            def forward_backward() -> list[Tensor]:
                leaves = [t.detach().requires_grad_() for t in (*maps, weight, bias)]
                results = function(leaves[:-2], *leaves[-2:])
                gradients = torch.autograd.grad(results, leaves, upstream)
                return [*(r.detach() for r in results), *gradients]

            return forward_backward

        functions = {OURS: ours, "eager": of_torch, "torch.compile": compiled(of_torch)}
        contenders = {name: run(function) for name, function in functions.items()}
        moved = sum(x.numel() * x.element_size() for x in maps) * 5
        name = f"ReLU, {layout_name}, forward+backward, batch {batch}, 800x1344"
        yield Case("group_norm", name, contenders, agree, target, moved)
