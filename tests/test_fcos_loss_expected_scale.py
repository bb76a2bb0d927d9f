"""expected_scale of fcos_loss: it saves work where it is met, else it changes nothing."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops
from fcos_ops import _fcos_loss_op as op
from tests import devices
from tests.common import DTYPES, assert_near
from tests.inputs.fcos_loss import (
    LAYOUTS,
    LOSSES,
    assert_matches_reference,
    gradients_of,
    losses_of,
    make_problem,
    op_arguments,
    run,
    to,
)


@pytest.mark.every_device
@pytest.mark.parametrize("as_tensor", [False, True])
def test_expected_scale(as_tensor: bool) -> None:
    """Half gradients far below half's range survive, and unmet expectations change nothing."""
    problem = make_problem()
    scale = 2.0**16
    value: Any = torch.tensor([scale]) if as_tensor else scale
    enlarge = lambda c: c * 64  # noqa: E731 - as many positives as a large batch has
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        assert_matches_reference(
            problem, dtype, scale=scale, expected_scale=value, normalize=enlarge
        )
    exact = to(problem, torch.float32)
    weights = (scale, scale, scale)
    _, expected = run(fcos_ops.fcos_loss, exact, weights)
    for kept in (False, True):
        met = to(problem, torch.float32)
        total = sum(losses_of(met, expected_scale=value)[:LOSSES]) * scale
        total.backward(retain_graph=kept)
        for head, tensor in zip(met.heads, expected, strict=True):
            joined = torch.cat([t.grad.permute(0, 2, 3, 1).flatten(1, 2) for t in head], 1)
            assert_near(joined, tensor, torch.float32)


@pytest.mark.every_device
def test_met_expectation_leaves_the_gradient_alone() -> None:
    """The stored gradient is handed over as it is: not one bit of rounding is added."""
    problem = to(make_problem(), torch.float32)
    factor = 3.0
    loss = losses_of(problem, expected_scale=factor)
    gradients = gradients_of(problem, factor * sum(loss[:LOSSES]))
    arguments = op_arguments(problem, (True, True, True), factor=factor)
    assert all(
        torch.equal(a, b) for a, b in zip(gradients, op.LOSS_OP.kernel(*arguments)[3], strict=True)
    )


NO_SCALES = [0.0, -2.0, math.inf, -math.inf, math.nan]
# With them a stored gradient of every dtype but float64 overflows or underflows somewhere.
FAR_OFF: list[Any] = [2.0**20, 1e30, 1e-30, [1e30], [1e-30]]  # a list: as a tensor


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kept", [False, True], ids=["once", "kept"])
def test_unmet_expectations_change_nothing(kept: bool, dtype: torch.dtype) -> None:
    """Not one bit, though what was stored is infinite or 0."""
    problem = to(make_problem(), dtype)
    # A box gradient of 1e9 and more, which no expectation of 1e30 leaves a finite float32.
    tiny = lambda c: c * 0  # noqa: E731
    scale = 1.0 if dtype == torch.float32 else 256.0

    def gradients(value: Any) -> list[Tensor]:
        total = sum(losses_of(problem, expected_scale=value, normalize=tiny)[:LOSSES])
        return gradients_of(problem, total * scale, retain_graph=kept)

    expected = gradients(scale)
    assert all(g.isfinite().all() and g.any() for g in expected[:5])
    for value in (*FAR_OFF, *([value] for value in NO_SCALES)):
        value = torch.tensor(value) if isinstance(value, list) else value
        found = gradients(value)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)), value


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_unmet_expectations_match_the_reference(
    layout: torch.memory_format, dtype: torch.dtype
) -> None:
    enlarge = lambda c: c * 64  # noqa: E731
    for value in (2.0**30, 1e-30, torch.tensor(math.nan)):
        assert_matches_reference(
            make_problem(layout=layout),
            dtype,
            scale=2.0**16,
            expected_scale=value,
            normalize=enlarge,
        )


@pytest.mark.every_device
@pytest.mark.parametrize("value", NO_SCALES)
def test_a_tensor_that_is_no_scale_counts_as_1(value: float) -> None:
    arguments = op_arguments(to(make_problem(), torch.float32), (True, True, True))
    found = op.LOSS_OP.kernel(*arguments[:5], torch.tensor(value), *arguments[6:])
    expected = op.LOSS_OP.kernel(*arguments[:5], torch.tensor(1.0), *arguments[6:])
    assert all(torch.equal(a, b) for a, b in zip(found[3], expected[3], strict=True))


@pytest.mark.every_device
@LAYOUTS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_only_the_unexpected_is_computed_again(
    dtype: torch.dtype, layout: torch.memory_format
) -> None:
    problem = to(make_problem(layout=layout), dtype, False)
    arguments = op_arguments(problem, (True, True, True), 3.0)
    expected = op.LOSS_OP.kernel(*arguments)[3]
    heads, inputs, options = arguments[0], arguments[1:6], arguments[6:-3]
    real = torch.float64 if dtype == torch.float64 else torch.float32

    def corrected(derivatives: Sequence[float]) -> list[Tensor]:
        stored = [torch.full_like(tensor, 7) for tensor in expected]
        scales = [torch.tensor(value, dtype=real) for value in derivatives]
        parts = op._group_by_head(stored, (True, True, True))
        op._run(heads, inputs, scales, (None,) * 3, parts, options, only_unexpected=True)
        return stored

    levels = len(problem.levels)
    assert all((tensor == 7).all() for tensor in corrected((3, 3, 3)))
    found = corrected((3, 2, 2))
    assert all((tensor == 7).all() for tensor in found[:levels])
    assert not any((tensor == 7).all() for tensor in found[levels:])
    found = corrected((2, 3, 3))
    assert not any((tensor == 7).all() for tensor in found[:levels])
    assert all((tensor == 7).all() for tensor in found[levels:])


def test_launches() -> None:
    """In the forward pass as many as without an expectation, met or not; in the backward pass two:
    locations and classes find out, each in a launch of its own, whether it was met."""
    with devices.running_on("simt"):
        for derivative in (4.0, 3.0):
            problem = to(make_problem(), torch.float16)
            before = devices.simt_launches()
            loss = sum(losses_of(problem, expected_scale=torch.tensor(4.0))[:LOSSES])
            forward = devices.simt_launches() - before
            gradients_of(problem, derivative * loss)
            assert (forward, devices.simt_launches() - before - forward) == (4, 2)


@pytest.mark.parametrize("value", [2.0**20, 1e30, 256.0])
def test_compiled(value: float) -> None:
    problem = to(make_problem(4, (2, 1), ((5, 6), (3, 4))), torch.float16)

    def total(heads: Any) -> Any:
        found = fcos_ops.fcos_loss(
            *heads, *problem.truth, levels=problem.levels, expected_scale=value
        )
        return sum(found[:LOSSES]) * 256.0

    compiled = torch.compile(total, fullgraph=True)
    found = gradients_of(problem, compiled(problem.heads))
    expected = gradients_of(problem, 256.0 * sum(losses_of(problem)[:LOSSES]))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_opcheck() -> None:
    """Of an expectation that is met: else what the op gave out is corrected in place."""
    problem = to(make_problem(3, (2, 1), ((3, 4), (2, 2))), torch.float16)
    for factor, expected in ((1.0, None), (None, torch.tensor(1.0))):
        arguments = op_arguments(problem, (True, True, True), factor, expected)
        torch.library.opcheck(torch.ops.fcos_ops.fcos_loss.default, arguments)
