"""group_norm on maps of any layout and size."""

import pytest
import torch

import fcos_ops
from fcos_ops import reference
from tests.inputs.group_norm import (
    ACTIVATIONS,
    LAYOUTS,
    assert_matches_reference,
    make_maps,
    make_parameters,
    run,
)

NHWC = torch.channels_last
pytestmark = pytest.mark.cooperative


@pytest.mark.every_device
@ACTIVATIONS
def test_mixed_layouts(activation: str | None) -> None:
    first, second, third, last = (x.float() for x in make_maps())
    maps = [
        first.to(memory_format=NHWC),
        second,
        third.transpose(2, 3).contiguous().transpose(2, 3),
        last.to(memory_format=NHWC),
    ]
    weight, bias = (p.float() for p in make_parameters())
    assert_matches_reference(maps, weight, bias, groups=2, activation=activation)


@pytest.mark.every_device
@LAYOUTS
def test_views_into_larger_maps(layout: torch.memory_format) -> None:
    """Rows that do not join to one line, and channels out of the middle."""
    larger = make_maps(((12, 11),), channels=24, layout=layout)[0].float()
    maps = [larger[:, 4:20, 1:9, 2:9], larger[:, :16, ::2, ::3], larger[:, 8:, 3:4]]
    weight, bias = (p.float() for p in make_parameters())
    leaves = [x.detach() for x in maps]
    results, gradients = run(fcos_ops.group_norm, leaves, weight, bias, groups=4)
    expected, expected_gradients = run(
        reference.group_norm, [x.contiguous() for x in leaves], weight, bias, groups=4
    )
    pairs = zip([*results, *gradients], [*expected, *expected_gradients], strict=True)
    for actual, right in pairs:
        assert (actual - right).norm() <= 1e-5 * right.norm()


@pytest.mark.every_device
@LAYOUTS
@pytest.mark.parametrize("groups, channels", [(1, 8), (3, 12), (8, 8), (5, 5), (2, 24), (1, 1)])
def test_groups(groups: int, channels: int, layout: torch.memory_format) -> None:
    maps = [x.float() for x in make_maps(((6, 7), (2, 3)), channels, layout=layout)]
    weight, bias = (p.float() for p in make_parameters(channels))
    assert_matches_reference(maps, weight, bias, groups=groups, activation="relu")


@LAYOUTS
@pytest.mark.parametrize("groups, channels", [(1, 1040), (4, 1040), (520, 1040), (2, 2600)])
def test_more_channels_than_a_thread_holds(
    groups: int, channels: int, layout: torch.memory_format
) -> None:
    maps = [x.float() for x in make_maps(((3, 5), (1, 2)), channels, layout=layout)]
    weight, bias = (p.float() for p in make_parameters(channels))
    assert_matches_reference(maps, weight, bias, groups=groups, activation="relu")


@pytest.mark.every_device
@LAYOUTS
def test_several_tiles(layout: torch.memory_format) -> None:
    """Maps of more locations than a tile or a run has, whole and cut off."""
    maps = [x.float() for x in make_maps(((16, 24), (13, 11), (4, 32)), 16, layout=layout)]
    weight, bias = (p.float() for p in make_parameters(16))
    assert_matches_reference(maps, weight, bias, groups=4, activation="relu")


@pytest.mark.every_device
@pytest.mark.parametrize(
    "shape", [(0, 8, 3, 2), (2, 8, 0, 2), (2, 8, 3, 0), (2, 0, 3, 2), (0, 0, 0, 0)], ids=str
)
@LAYOUTS
def test_empty_maps(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    x = torch.ones(shape).to(memory_format=layout).requires_grad_()
    weight = torch.ones(shape[1], requires_grad=True)
    bias = torch.ones(shape[1], requires_grad=True)
    y = fcos_ops.group_norm(x, weight, bias, groups=4 if shape[1] else 1, activation="relu")
    assert y.shape == shape
    gradients = torch.autograd.grad(y.sum(), (x, weight, bias))
    assert gradients[0].shape == shape
    assert all((g == 0).all() for g in gradients[1:])


@pytest.mark.every_device
@LAYOUTS
def test_an_empty_map_among_others(layout: torch.memory_format) -> None:
    maps = [x.float() for x in make_maps(((4, 3), (0, 5), (3, 3)), layout=layout)]
    weight, bias = (p.float() for p in make_parameters())
    assert_matches_reference(maps, weight, bias, groups=4, activation="relu")


@LAYOUTS
@pytest.mark.parametrize("other", [torch.contiguous_format, torch.channels_last, None])
def test_gradients_of_another_layout(
    other: torch.memory_format | None, layout: torch.memory_format
) -> None:
    """None: repeated, as of a sum."""
    x = make_maps(((5, 6),), layout=layout)[0].requires_grad_()
    weight, bias = make_parameters()
    results = []
    for function in (fcos_ops.group_norm, reference.group_norm):
        y = function(x, weight, bias, groups=4, activation="relu")
        upstream = torch.ones(()).double().expand(y.shape)
        if other is not None:
            upstream = torch.cos(y.detach()).to(memory_format=other)
        results.append(torch.autograd.grad(y, x, upstream)[0])
    assert torch.allclose(*results, rtol=1e-10, atol=1e-12)
    assert results[0].stride() == x.stride()


@LAYOUTS
def test_results_do_not_depend_on_threads_or_runs(layout: torch.memory_format) -> None:
    maps = [x.float() for x in make_maps(((40, 31), (20, 16)), 32, layout=layout)]
    weight, bias = (p.float() for p in make_parameters(32))
    results = []
    for threads in (1, 2, 2, 3):
        torch.set_num_threads(threads)
        outputs, gradients = run(
            fcos_ops.group_norm, maps, weight, bias, groups=8, activation="relu"
        )
        results.append([*outputs, *gradients])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, results[0], strict=True))
