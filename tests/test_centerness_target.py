"""centerness_target against the float64 reference."""

import math

import numpy as np
import pytest
import torch

import fcos_ops
from fcos_ops import reference
from tests.common import DTYPES, assert_near
from tests.inputs.centerness import SHAPES, make_ltrb


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_target(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    ltrb = make_ltrb(shape).to(dtype)
    target = fcos_ops.centerness_target(ltrb)
    real = torch.float64 if dtype == torch.float64 else torch.float32
    assert target.dtype == real and target.is_contiguous()
    assert_near(target, reference.centerness_target(ltrb.double()), real)


@pytest.mark.every_device
def test_target_rounds_every_operation_once() -> None:
    """Equal bits to IEEE arithmetic, which numpy's is; torch's own square root is not."""
    ltrb = torch.rand(3000, 4)
    left, top, right, bottom = ltrb.cpu().numpy().T
    ratio_x = np.minimum(left, right) / np.maximum(left, right)
    ratio_y = np.minimum(top, bottom) / np.maximum(top, bottom)
    expected = torch.from_numpy(np.sqrt(ratio_x * ratio_y))
    assert torch.equal(fcos_ops.centerness_target(ltrb).cpu(), expected)


@pytest.mark.every_device
def test_target_special_values() -> None:
    nan, inf = math.nan, math.inf
    # min / max of each pair, then the root of the product: 1/4 and 1/9 -> 1/6.
    table = [
        ((1, 1, 4, 9), 1 / 6),
        ((5, 5, 5, 5), 1.0),
        ((0, 1, 1, 1), 0.0),
        ((-3, 1, -3, 1), 0.0),
        ((0, 0, 0, 0), 0.0),
        ((1e30, 1e30, 1e30, 1e30), 1.0),
        ((nan, 1, 1, 1), nan),
        ((-1, nan, 1, 1), nan),
        ((1, 1, inf, 1), 0.0),
    ]
    for dtype in (torch.float32, torch.float64):
        ltrb = torch.tensor([row for row, _ in table], dtype=dtype)
        expected = torch.tensor([value for _, value in table], dtype=dtype)
        actual = fcos_ops.centerness_target(ltrb)
        assert torch.allclose(actual, expected, rtol=1e-6, atol=0, equal_nan=True)


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_target_of_any_strides(dtype: torch.dtype) -> None:
    maps = make_ltrb((2, 9, 11)).to(dtype).permute(0, 3, 1, 2).contiguous()
    for ltrb in (maps.permute(0, 2, 3, 1), maps.permute(0, 2, 3, 1)[:, ::2, 1:]):
        assert not ltrb.is_contiguous()
        actual = fcos_ops.centerness_target(ltrb)
        assert torch.equal(actual, fcos_ops.centerness_target(ltrb.contiguous()))
