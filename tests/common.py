"""What the op tests share: tolerances, comparisons by norm, and what an op refuses."""

from typing import Any

import pytest
import torch
from torch import Tensor

# Relative error by norm against the float64 reference. float32: a few roundings of 6e-8 and the
# polynomials' 3e-8, as asked of every op; half types: their own rounding of the output.
TOLERANCE = {
    torch.float32: 2e-6,
    torch.float64: 1e-13,
    torch.float16: 1e-2,
    torch.bfloat16: 1e-2,
}
DTYPES = tuple(TOLERANCE)


HALF_SPACING = 2.0**-24  # of float16 below 6e-5: a rounding error that no relative bound covers


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """|actual - expected| / |expected| by Euclidean norm; absolute where expected is 0."""
    difference = (actual.double() - expected.double()).norm().item()
    if actual.dtype == torch.float16:
        difference = max(0.0, difference - HALF_SPACING * actual.numel() ** 0.5)
    size = expected.double().norm().item()
    return difference / size if size > 0 else difference


def assert_near(
    actual: Tensor, expected: Tensor, dtype: torch.dtype, where: Tensor | None = None
) -> None:
    """`actual`, computed in `dtype`, is as near to `expected` as TOLERANCE asks.

    With a mask `where`, the entries inside and outside it are compared separately, so that large
    entries on one side do not hide errors on the other.
    """
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    masks = [torch.ones_like(expected, dtype=torch.bool)] if where is None else [where, ~where]
    for mask in masks:
        error = relative_error(actual[mask], expected[mask])
        assert error <= TOLERANCE[dtype], f"relative error {error:.3g} > {TOLERANCE[dtype]:g}"


def assert_refuses(
    op: Any, arguments: tuple[Any, ...], index: int, wrong: Any, message: str
) -> None:
    """That a torch op takes the arguments, and refuses them with the one at `index` changed."""
    op(*arguments)
    changed = (*arguments[:index], wrong, *arguments[index + 1 :])
    with pytest.raises((ValueError, TypeError), match=message):
        op(*changed)
