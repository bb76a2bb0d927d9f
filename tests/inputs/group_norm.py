"""Maps for the tests of group_norm, and the comparison with the reference in float64."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops
from fcos_ops import reference
from tests.common import assert_near, relative_error

SIZES = ((9, 16), (5, 7), (3, 2), (1, 1))
LAYOUTS = pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"]
)
ACTIVATIONS = pytest.mark.parametrize("activation", [None, "relu"])
# Of a half result: half a unit in the last place for the rounding, and next to nothing for what was
# rounded; of its gradient likewise.
HALF_UNITS = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}


def make_maps(
    sizes: Sequence[tuple[int, int]] = SIZES,
    channels: int = 16,
    batch: int = 2,
    layout: torch.memory_format = torch.contiguous_format,
    mean: float = 0.5,
    deviation: float = 2.0,
) -> list[Tensor]:
    """Float64 maps whose channels differ in their means."""
    maps = []
    for height, width in sizes:
        x = torch.randn(batch, channels, height, width, dtype=torch.float64)
        x = (x + torch.randn(channels, 1, 1, dtype=torch.float64)) * deviation + mean
        maps.append(x.to(memory_format=layout))
    return maps


def make_parameters(channels: int = 16) -> tuple[Tensor, Tensor]:
    return torch.rand(channels, dtype=torch.float64) + 0.5, torch.randn(channels).double()


def run(
    function: Any, maps: Sequence[Tensor], weight: Tensor, bias: Tensor, **options: Any
) -> tuple[list[Tensor], list[Tensor]]:
    """Results, and the gradients of maps, weight and bias by their sum with random weights."""
    leaves = [t.detach().requires_grad_() for t in (*maps, weight, bias)]
    results = function(leaves[:-2], *leaves[-2:], **options)
    generator = torch.Generator(weight.device).manual_seed(1)
    upstream = []
    for result in results:
        random = torch.randn(
            result.shape, generator=generator, dtype=torch.float64, device=result.device
        )
        upstream.append(torch.empty_like(result).copy_(random))
    gradients = torch.autograd.grad(results, leaves, upstream)
    return [r.detach() for r in results], list(gradients)


def assert_matches_reference(
    maps: Sequence[Tensor], weight: Tensor, bias: Tensor, *, groups: int, **options: Any
) -> None:
    """Of maps in any dtype; `bias` should keep results away from 0, where a ReLU's gradient
    jumps."""
    dtype = maps[0].dtype
    options = {"groups": groups, **options}
    results, gradients = run(fcos_ops.group_norm, maps, weight, bias, **options)
    doubles = [t.double() for t in (*maps, weight, bias)]
    exact, exact_gradients = run(reference.group_norm, doubles[:-2], *doubles[-2:], **options)
    for x, result, expected in zip(maps, results, exact, strict=True):
        assert result.dtype == dtype and result.stride() == torch.empty_like(x).stride()
        _assert_as_near_as_it_gets(result, expected)
    for gradient, expected in zip(gradients[:-2], exact_gradients[:-2], strict=True):
        assert_near(gradient, expected, dtype)
    for gradient, expected in zip(gradients[-2:], exact_gradients[-2:], strict=True):
        # Sums over all locations of float32 products.
        bound = 1e-13 if dtype == torch.float64 else 1e-5
        bound = max(bound, 2 * HALF_UNITS.get(gradient.dtype, 0.0))
        assert relative_error(gradient, expected) <= bound


def _assert_as_near_as_it_gets(result: Tensor, expected: Tensor) -> None:
    """By norm; of halves each, within one unit in the last place. Beside a bias of the other sign a
    result is small, and its error that of float32 numbers around 1."""
    assert_near(result, expected, result.dtype)
    if result.dtype in HALF_UNITS:
        mantissa, exponent = torch.frexp(expected)  # mantissa in [0.5, 1)
        unit = torch.ldexp(torch.full_like(mantissa, 2 * HALF_UNITS[result.dtype]), exponent - 1)
        distance = (result.double() - expected).abs()
        assert (distance <= unit + 1e-6).all()
