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
Function = Callable[[Maps, Tensor, Tensor], Maps]


def ours(maps: Maps, weight: Tensor, bias: Tensor) -> Maps:
    return fcos_ops.group_norm(maps, weight, bias, groups=GROUPS, activation="relu")


def of_torch(maps: Maps, weight: Tensor, bias: Tensor) -> Maps:
    return [F.relu_(F.group_norm(x, GROUPS, weight, bias)) for x in maps]


def cases() -> Iterator[Case]:
    for batch, dtype in problem.variants():
        for layout_name in LAYOUTS:
            yield from _of_layout(batch, dtype, layout_name)


def _of_layout(batch: int, dtype: torch.dtype, layout_name: str) -> Iterator[Case]:
    layout, target = LAYOUTS[layout_name]
    g = problem.generator()
    weight = torch.rand(CHANNELS, generator=g) + 0.5
    bias = torch.randn(CHANNELS, generator=g)
    maps, upstream = (
        [
            torch.randn(batch, CHANNELS, h, w, generator=g).to(dtype, memory_format=layout)
            for h, w in problem.SIZES
        ]
        for _ in range(2)
    )

    def forward(function: Function) -> Callable[[], Any]:
        return lambda: function(maps, weight, bias)

    def forward_backward(function: Function) -> Callable[[], Any]:
        def run() -> list[Tensor]:
            leaves = [t.detach().requires_grad_() for t in (*maps, weight, bias)]
            results = function(leaves[:-2], *leaves[-2:])
            gradients = torch.autograd.grad(results, leaves, upstream)
            return [*(r.detach() for r in results), *gradients]

        return run

    functions: dict[str, Function] = {
        OURS: ours,
        "eager": of_torch,
        "torch.compile": compiled(of_torch),
    }

    def agree(ours: Any, theirs: Any) -> None:
        # torch's float32 sums are good to 1e-5. Both round halves, torch a ReLU's input, too.
        bound = 2e-5 + 2 * problem.rounding(dtype)
        for a, b in zip(ours, theirs, strict=True):
            assert (a.float() - b.float()).norm() <= bound * b.float().norm()

    size = sum(x.numel() * x.element_size() for x in maps)
    where = problem.with_dtype(f"{layout_name}, batch {batch}, 800x1344", dtype)
    # Each pass reads its maps twice, but for what the cache holds; a plain copy moves two of them.
    for what, run, moved in (("forward", forward, 2), ("forward+backward", forward_backward, 5)):
        contenders = {name: run(function) for name, function in functions.items()}
        yield Case("group_norm", f"ReLU, {what}, {where}", contenders, agree, target, moved * size)
