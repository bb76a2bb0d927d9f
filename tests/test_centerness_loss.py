"""centerness_loss against the float64 reference."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fcos_ops
from fcos_ops import reference
from tests.common import DTYPES, assert_near
from tests.inputs.centerness import SHAPES, assert_matches_reference, loss_and_gradient


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_strides(dtype: torch.dtype) -> None:
    logits = torch.randn(9, 300, dtype=torch.float64).to(dtype).t()
    target = torch.rand(9, 300).t()
    labels = torch.randint(-2, 3, (9, 300)).t()
    assert_matches_reference(logits, target, labels=labels)
    assert_matches_reference(logits[::3], target[::3], mask=labels[::3] >= 0, reduction="none")


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_loss(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    logits = (torch.randn(shape, dtype=torch.float64) * 3).to(dtype)
    target = torch.rand(shape, dtype=torch.float64)
    labels = torch.randint(-2, 3, shape)
    for reduction in ("sum", "mean", "none"):
        assert_matches_reference(logits, target, reduction=reduction)
        assert_matches_reference(logits, target, labels=labels, reduction=reduction)
    assert_matches_reference(logits, target, labels=labels.int(), normalizer=3.0)
    assert_matches_reference(logits, target, mask=labels >= 0, normalizer=torch.tensor(5))


@pytest.mark.every_device
def test_elements_that_do_not_count_may_hold_anything() -> None:
    logits = torch.tensor([math.nan, math.inf, 0.5, math.nan], requires_grad=True)
    target = torch.tensor([math.nan, 0.5, 0.5, 0.5])
    loss = fcos_ops.centerness_loss(logits, target, labels=torch.tensor([-1, -2, 0, -1]))
    loss.backward()
    # -(log sigmoid(0.5) + log sigmoid(-0.5)) / 2
    assert math.isclose(loss.item(), math.log1p(math.exp(0.5)) - 0.25, rel_tol=1e-6)
    assert logits.grad is not None
    assert logits.grad[[0, 1, 3]].tolist() == [0, 0, 0] and logits.grad[2].isfinite()
    assert fcos_ops.centerness_loss(logits.detach(), target).isnan()


@pytest.mark.every_device
def test_finite_at_extreme_logits() -> None:
    logits = torch.tensor([-3e38, -1e4, -104, -88, -0.0, 88, 104, 1e4, 3e38])
    for value in (0.0, 0.3, 1.0):
        target = torch.full_like(logits, value)
        loss, gradient = loss_and_gradient(
            fcos_ops.centerness_loss, logits, target, reduction="none"
        )
        assert loss.isfinite().all() and gradient.isfinite().all()


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", DTYPES)
def test_infinite_logits(dtype: torch.dtype) -> None:
    """Nothing where the target is their limit, else infinity; the gradient is p - t as ever."""
    targets = torch.tensor([0.0, 0.25, 1.0])
    for function in (fcos_ops.centerness_loss, reference.centerness_loss):
        for p in (0.0, 1.0):
            logits = torch.full((3,), (2 * p - 1) * math.inf, dtype=dtype, requires_grad=True)
            loss = function(logits, targets, reduction="none")
            assert loss.tolist() == [0 if t == p else math.inf for t in targets]
            (gradient,) = torch.autograd.grad(loss.sum(), logits)
            assert gradient.tolist() == (p - targets).tolist()
            assert function(logits.detach(), targets) == math.inf


@pytest.mark.every_device
@pytest.mark.parametrize("count", [511, 80_000, 1_000_000])
def test_sum_of_many_equal_entries(count: int) -> None:
    """No random signs help the rounding errors."""
    for logit, target in ((-1.7133492, 0.18523103), (0.3, 0.1), (3.1, 0.9)):
        logits, targets = torch.full((count,), logit), torch.full((count,), target)
        exact = reference.centerness_loss(logits[:1].double(), targets[:1].double()) * count
        assert_near(fcos_ops.centerness_loss(logits, targets), exact, torch.float32)


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tiny_normalizers(dtype: torch.dtype) -> None:
    """Nothing is divided by less than the smallest normal number of the maths."""
    tiny = torch.finfo(dtype).tiny
    logits, targets = torch.tensor([-30.0, 0.3], dtype=dtype), torch.tensor([0.0, 0.3])
    for value in (0.0, tiny / 8, tiny):
        divisor = torch.tensor(value, dtype=dtype)
        options: Any = {"normalizer_floor": 0.0, "reduction": "none", "normalizer": divisor}
        loss = fcos_ops.centerness_loss(logits, targets, **options)
        assert loss.isfinite().all()
        assert_near(
            loss * tiny, reference.centerness_loss(logits, targets, **options) * tiny, dtype
        )


@pytest.mark.every_device
def test_result_does_not_depend_on_threads_or_runs() -> None:
    logits, target = torch.randn(5, 3000), torch.rand(5, 3000)
    results = []
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        results.append(loss_and_gradient(fcos_ops.centerness_loss, logits, target))
    for loss, gradient in results[1:]:
        assert torch.equal(loss, results[0][0]) and torch.equal(gradient, results[0][1])


@pytest.mark.every_device
@given(count=st.integers(0, 1200), seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_any_size(count: int, seed: int) -> None:
    torch.manual_seed(seed)
    labels = torch.randint(-1, 2, (count,))
    assert_matches_reference(torch.randn(count) * 5, torch.rand(count), labels=labels)
