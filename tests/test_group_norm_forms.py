"""group_norm on a GPU, channels_last: one cooperative launch, or two plain ones."""

import pytest
import torch
from torch import Tensor

import fcos_ops
from tests import devices
from tests.inputs.group_norm import assert_matches_reference, make_maps, make_parameters, run

NHWC = torch.channels_last
# Maps of 5, 1, 2 and 1 tiles: the first is more than what the simulated device holds at once.
SIZES = ((20, 29), (2, 2), (13, 11), (1, 1))
# Vectors of 16 bytes; and of 8, as groups of halves are no multiple of 16: such as of the stem.
VECTORS = pytest.mark.parametrize(
    "dtype, channels, groups",
    [
        (torch.bfloat16, 16, 2),
        (torch.float32, 16, 2),
        (torch.float64, 16, 2),
        (torch.bfloat16, 64, 16),
        (torch.float16, 64, 16),
        (torch.float16, 12, 1),
    ],
    ids=str,
)


def make(
    dtype: torch.dtype = torch.float32, channels: int = 16
) -> tuple[list[Tensor], Tensor, Tensor]:
    maps = [x.to(dtype) for x in make_maps(SIZES, channels, batch=3, layout=NHWC)]
    weight, bias = (p.to(dtype) for p in make_parameters(channels))
    return maps, weight, bias


@pytest.mark.every_device
@pytest.mark.cooperative
@VECTORS
def test_maps_larger_than_what_a_device_holds_at_once(
    dtype: torch.dtype, channels: int, groups: int
) -> None:
    assert_matches_reference(*make(dtype, channels), groups=groups, activation="relu")


@pytest.mark.every_device
@pytest.mark.cooperative
def test_few_locations() -> None:
    """Tiles are smaller, so that every multiprocessor has some."""
    maps = [x.float() for x in make_maps(((9, 11),), batch=1, layout=NHWC)]
    weight, bias = (p.float() for p in make_parameters())
    assert_matches_reference(maps, weight, bias, groups=2, activation="relu")


@pytest.mark.every_device
@pytest.mark.cooperative
@pytest.mark.parametrize("maps_need_it, parameters_need_it", [(True, False), (False, True)])
def test_frozen(maps_need_it: bool, parameters_need_it: bool) -> None:
    """Without gradients of maps one step of two is left."""
    maps, weight, bias = make()
    _, expected = run(fcos_ops.group_norm, maps, weight, bias, groups=2)
    for leaf in maps:
        leaf.requires_grad_(maps_need_it)
    for leaf in (weight, bias):
        leaf.requires_grad_(parameters_need_it)
    results = fcos_ops.group_norm(maps, weight, bias, groups=2)
    generator = torch.Generator(weight.device).manual_seed(1)
    upstream = [
        torch.empty_like(y).copy_(
            torch.randn(y.shape, generator=generator, dtype=torch.float64, device=y.device)
        )
        for y in results
    ]
    leaves = [leaf for leaf in (*maps, weight, bias) if leaf.requires_grad]
    wanted = [e for e, x in zip(expected, (*maps, weight, bias), strict=True) if x.requires_grad]
    for actual, right in zip(torch.autograd.grad(results, leaves, upstream), wanted, strict=True):
        assert torch.equal(actual, right)


# Blocks that a device tells and holds, and the launches of a call forward and backward: a memset
# and the cooperative kernel each; two kernels; a memset that was in vain, then two kernels. The
# last of each is that of the parameters.
FORMS = {"cooperative": (4, 4, 5), "plain": (0, 0, 5), "refused": (4, 1, 7)}


@VECTORS
def test_forms_give_the_same_bits(dtype: torch.dtype, channels: int, groups: int) -> None:
    maps, weight, bias = make(dtype, channels)
    results = {}
    with devices.running_on("simt"):
        for form, (told, held, launches) in FORMS.items():
            with devices.cooperative_blocks(told, held):
                before = devices.simt_launches()
                outputs, gradients = run(
                    fcos_ops.group_norm, maps, weight, bias, groups=groups, activation="relu"
                )
                assert devices.simt_launches() - before == launches
                results[form] = [*outputs, *gradients]
    for form in ("plain", "refused"):
        for a, b in zip(results[form], results["cooperative"], strict=True):
            assert torch.equal(a, b)


def test_no_flags_without_rows() -> None:
    """Planes have a kernel of their own: no memset, no cooperative launch."""
    maps = [x.float() for x in make_maps(((4, 6), (2, 3)))]
    weight, bias = (p.float() for p in make_parameters())
    with devices.running_on("simt"):
        before = devices.simt_launches()
        fcos_ops.group_norm(maps, weight, bias, groups=2)
        assert devices.simt_launches() - before == 1
