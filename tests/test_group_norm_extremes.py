"""group_norm where numbers are large, equal, few, or none."""

import math

import pytest
import torch

import fcos_ops
from fcos_ops import reference
from tests.common import relative_error
from tests.inputs.group_norm import LAYOUTS, make_maps, make_parameters, run

pytestmark = pytest.mark.cooperative


@pytest.mark.every_device
@LAYOUTS
@pytest.mark.parametrize("mean", [1e3, -1e3])
def test_a_mean_far_beyond_the_deviation(mean: float, layout: torch.memory_format) -> None:
    """Mean 1e3, deviation 1e-2: x itself is known to 3e-5, a hundredth of the deviation."""
    maps = [
        (torch.randn(2, 16, *size, dtype=torch.float64) * 1e-2 + mean).float()
        for size in ((20, 17), (3, 5))
    ]
    maps = [x.to(memory_format=layout) for x in maps]
    weight, bias = (p.float() for p in make_parameters())
    results, gradients = run(fcos_ops.group_norm, maps, weight, bias, groups=4)
    doubles = [x.double() for x in maps]
    exact, exact_gradients = run(
        reference.group_norm, doubles, weight.double(), bias.double(), groups=4
    )
    pairs = zip([*results, *gradients], [*exact, *exact_gradients], strict=True)
    assert all(relative_error(actual, expected) <= 1e-4 for actual, expected in pairs)


# Of the last two a thread of a GPU has hundreds of elements: in planes, and by rows.
@pytest.mark.every_device
@LAYOUTS
@pytest.mark.parametrize("channels, size", [(8, (50, 40)), (8, (200, 160)), (1024, (16, 9))])
def test_an_outlier_first(
    channels: int, size: tuple[int, int], layout: torch.memory_format
) -> None:
    """An element is the base that differences are taken to: it must not be one that is far off."""
    x = torch.randn(1, channels, *size, dtype=torch.float64)
    x[:, :, 0, 0] = 1e4
    x = x.to(memory_format=layout)
    weight, bias = torch.ones(channels).double(), torch.zeros(channels).double()
    exact = reference.group_norm(x, weight, bias, groups=2)
    ours = fcos_ops.group_norm(x.float(), weight.float(), bias.float(), groups=2)
    assert relative_error(ours, exact) <= 2e-6
    assert relative_error(ours[..., 1:], exact[..., 1:]) <= 1e-4


@pytest.mark.every_device
@LAYOUTS
@pytest.mark.parametrize("channels", [64, 2048])
def test_a_channel_that_is_far_off(channels: int, layout: torch.memory_format) -> None:
    """Of wide groups too, where roundings of a sum over channels would add up."""
    x = torch.randn(1, channels, 13, 19, dtype=torch.float64)
    x[:, 0] += 1e4
    x[:, channels // 2] = 1 / 3
    x = x.float().to(memory_format=layout)
    weight, bias = torch.ones(channels), torch.zeros(channels)
    exact = reference.group_norm(x.double(), weight.double(), bias.double(), groups=1)
    assert relative_error(fcos_ops.group_norm(x, weight, bias, groups=1), exact) <= 2e-6


@pytest.mark.every_device
@LAYOUTS
def test_outliers_wherever_a_base_is_taken(layout: torch.memory_format) -> None:
    x = torch.randn(1, 8, 32, 64, dtype=torch.float64).float()
    x[:, :, 0, 0] = x[:, :, 16, 0] = x[:, :, -1, -1] = 1e3 / 3
    x = x.to(memory_format=layout)
    weight, bias = torch.ones(8), torch.zeros(8)
    exact = reference.group_norm(x.double(), weight.double(), bias.double(), groups=2)
    assert relative_error(fcos_ops.group_norm(x, weight, bias, groups=2), exact) <= 2e-6


@pytest.mark.every_device
def test_the_error_does_not_grow_with_the_map() -> None:
    """Thousands of equal elements a thread, whose sums round the same way every time."""
    x = torch.zeros(1, 1, 1024, 1024)
    x[:, :, :512] = 1 / 3
    weight, bias = torch.ones(1), torch.zeros(1)
    exact = reference.group_norm(x.double(), weight.double(), bias.double(), groups=1)
    ours = fcos_ops.group_norm(x, weight, bias, groups=1)
    assert relative_error(ours, exact) <= 1e-5


@pytest.mark.every_device
@LAYOUTS
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_nan_and_infinity_make_their_group_nan(
    activation: str | None, value: float, layout: torch.memory_format
) -> None:
    x = make_maps(((6, 5),), 8, layout=layout)[0].float()
    weight, bias = (p.float() for p in make_parameters(8))
    clean = fcos_ops.group_norm(x, weight, bias, groups=2, activation=activation)
    x[1, 5, 2, 3] = value
    y = fcos_ops.group_norm(x, weight, bias, groups=2, activation=activation)
    assert y[1, 4:].isnan().all()
    assert torch.equal(y[0], clean[0]) and torch.equal(y[1, :4], clean[1, :4])
    x.requires_grad_()
    y = fcos_ops.group_norm(x, weight, bias, groups=2, activation=activation)
    y.sum().backward()
    assert x.grad[1, 4:].isnan().all() and not x.grad[0].isnan().any()


@pytest.mark.every_device
@LAYOUTS
def test_equal_elements(layout: torch.memory_format) -> None:
    """A variance of 0: the result is the bias, to the last bit, whatever the value."""
    x = torch.full((2, 8, 7, 5), 3.3).to(memory_format=layout).requires_grad_()
    weight, bias = torch.rand(8), torch.randn(8)
    y = fcos_ops.group_norm(x, weight, bias, groups=2)
    assert torch.equal(y, bias[:, None, None].expand_as(y))
    (gradient,) = torch.autograd.grad(y, x, torch.randn_like(y))
    assert gradient.isfinite().all()


@pytest.mark.every_device
def test_one_element() -> None:
    y = fcos_ops.group_norm(torch.ones(1, 1, 1, 1), torch.ones(1), torch.ones(1) / 2, groups=1)
    assert y.item() == 0.5


def test_large_eps() -> None:
    x, (weight, bias) = torch.randn(1, 4, 3, 3), torch.ones(2, 4)
    y = fcos_ops.group_norm(x, weight, bias, groups=2, eps=3e38)
    assert torch.equal(y, torch.ones_like(y))
