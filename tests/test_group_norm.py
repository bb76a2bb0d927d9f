"""group_norm against the float64 reference."""

import pytest
import torch

import fcos_ops
from tests.common import DTYPES
from tests.inputs.group_norm import (
    ACTIVATIONS,
    LAYOUTS,
    assert_matches_reference,
    make_maps,
    make_parameters,
)

pytestmark = pytest.mark.cooperative


@pytest.mark.every_device
@LAYOUTS
@ACTIVATIONS
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(
    dtype: torch.dtype, activation: str | None, layout: torch.memory_format
) -> None:
    # Eight channels a group: 16 bytes of halves, which a GPU takes by rows in channels_last.
    maps = [x.to(dtype) for x in make_maps(layout=layout)]
    weight, bias = (p.to(dtype) for p in make_parameters())
    assert_matches_reference(maps, weight, bias, groups=2, activation=activation)
    assert isinstance(fcos_ops.group_norm(maps[0], weight, bias, groups=2), torch.Tensor)
