"""group_norm as a citizen of torch: opcheck, compile, export, autocast."""

from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops
from tests.inputs.group_norm import LAYOUTS, make_maps, make_parameters

OPCHECK_CASES = [
    (torch.float32, torch.contiguous_format, "none", (True, True, True)),
    (torch.bfloat16, torch.channels_last, "relu", (True, False, True)),
    (torch.float16, torch.contiguous_format, "relu", (False, False, False)),
    (torch.float64, torch.channels_last, "none", (False, True, True)),
]


@pytest.mark.parametrize("case", OPCHECK_CASES, ids=str)
def test_opcheck(case: Any) -> None:
    dtype, layout, activation, needed = case
    maps = [x.to(dtype).requires_grad_(needed[0]) for x in make_maps(layout=layout)]
    weight, bias = (p.float() for p in make_parameters())
    if dtype == torch.float64:
        weight = weight.double()
    inputs = [*maps, weight.requires_grad_(needed[1]), bias.requires_grad_(needed[2])]
    torch.library.opcheck(
        torch.ops.fcos_ops.group_norm.default, (inputs, 4, 1e-5, activation), atol=1e-2, rtol=1e-2
    )


def test_opcheck_of_the_gradient() -> None:
    maps = [x.float() for x in make_maps()]
    inputs = [*maps, *(p.float() for p in make_parameters())]
    *normalized, statistics = torch.ops.fcos_ops.group_norm(inputs, 4, 1e-5, "relu")
    for wanted in ((True, True), (False, True), (True, False)):
        arguments = (inputs, normalized, statistics, 4, "relu", *wanted)
        torch.library.opcheck(torch.ops.fcos_ops.group_norm_backward.default, arguments)


class Layer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(8) + 0.5)
        self.bias = torch.nn.Parameter(torch.randn(8))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [x * 2 for x in maps]
        both = fcos_ops.group_norm(maps, self.weight, self.bias, groups=2, activation="relu")
        return [fcos_ops.group_norm(x, self.weight, self.bias, groups=4) + x for x in both]


@pytest.mark.parametrize("backend, compiler", [("native", "inductor"), ("reference", "aot_eager")])
def test_compile(backend: str, compiler: str) -> None:
    eager = Layer()
    with fcos_ops.backend(backend):
        torch.compiler.reset()
        compiled = torch.compile(eager, fullgraph=True, dynamic=True, backend=compiler)
        for sizes in (((5, 6), (3, 4)), ((7, 9), (4, 5))):
            leaves = [x.float().requires_grad_() for x in make_maps(sizes, 8)]
            leaves[0] = leaves[0].detach().to(memory_format=torch.channels_last).requires_grad_()
            results = []
            for function in (eager, compiled):
                found = function(leaves)
                total = sum(x.sin().sum() for x in found)
                gradients = torch.autograd.grad(total, [*leaves, eager.weight, eager.bias])
                results.append([*found, *gradients])
            for a, b in zip(*results, strict=True):
                assert a.stride() == b.stride() and torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
def test_export(backend: str) -> None:
    maps = [x.float() for x in make_maps(((5, 6), (3, 4)), 8)]
    layer = Layer()
    with fcos_ops.backend(backend):
        program = torch.export.export(layer, (maps,))
        actual, expected = program.module()(maps), layer(maps)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(actual, expected, strict=True))


@LAYOUTS
def test_stays_in_bfloat16_under_autocast(layout: torch.memory_format) -> None:
    convolution, layer = torch.nn.Conv2d(8, 8, 3, padding=1), Layer()
    convolution = convolution.to(memory_format=layout)
    x = make_maps(((5, 6),), 8, layout=layout)[0].float()
    with torch.autocast("cpu", torch.bfloat16):
        y = fcos_ops.group_norm(convolution(x), layer.weight, layer.bias, groups=4)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32 and convolution.weight.grad is not None
