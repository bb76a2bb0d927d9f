"""sigmoid_focal_loss against the float64 reference."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fcos_ops
from fcos_ops import reference
from tests.common import DTYPES
from tests.inputs.focal_loss import GAMMAS, assert_matches_reference, loss_and_gradient, make_labels

SHAPES = [(37, 80), (3, 7, 5, 4), (300, 1), (5, 1203), (2, 3, 2, 2, 9), (9,), (0, 80), (4, 0)]


@pytest.mark.every_device
@pytest.mark.parametrize("dense", [False, True], ids=["labels", "dense"])
@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_dtype_and_reduction(shape: tuple[int, ...], gamma: float, dense: bool) -> None:
    logits = torch.randn(shape, dtype=torch.float64) * 4
    labels = make_labels(logits, dense)
    weight = torch.rand(shape[:-1])
    for dtype in DTYPES:
        x = logits.to(dtype)
        assert_matches_reference(x, labels, gamma=gamma, reduction="none", alpha=-1.0)
        assert_matches_reference(x, labels, gamma=gamma, reduction="mean", weight=weight)
        count = torch.tensor(3)
        assert_matches_reference(x, labels, gamma=gamma, normalizer=count)


@pytest.mark.parametrize("dense", [False, True], ids=["labels", "dense"])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_finite_at_extreme_logits(gamma: float, dense: bool) -> None:
    values = [0.0, -0.0, 1e-30, 17.0, 40.0, 87.0, 88.0, 89.0, 104.0, 1e4, 3e38]
    logits = torch.tensor([values, [-v for v in values]], requires_grad=True)
    for label in (0.0, 1.0) if dense else (-1, 3):
        labels = torch.full_like(logits, label) if dense else torch.full((2,), label)
        loss = fcos_ops.sigmoid_focal_loss(logits, labels, gamma=gamma, reduction="none")
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert loss.isfinite().all() and gradient.isfinite().all()
        exact = logits.detach().double().requires_grad_()
        exact_loss = reference.sigmoid_focal_loss(exact, labels, gamma=gamma, reduction="none")
        assert torch.allclose(loss.double(), exact_loss, rtol=2e-6, atol=1e-37)


def test_nan_stays_in_its_row_and_ignored_rows_are_ignored() -> None:
    logits = torch.randn(6, 20)
    logits[1, 3] = logits[2, 5] = math.nan
    labels = torch.tensor([4, -1, -2, 20, -3, 0])
    loss, gradient = loss_and_gradient(
        fcos_ops.sigmoid_focal_loss, logits, labels, reduction="none"
    )
    for result in (loss, gradient):
        assert result[1].isnan().nonzero().tolist() == [[3]]
        assert (result[2] == 0).all()
        assert result[3].isnan().all() and result[4].isnan().all()
        assert result[[0, 5]].isfinite().all()
    assert fcos_ops.sigmoid_focal_loss(logits, labels).isnan()


@pytest.mark.parametrize("channels_first", [False, True])
def test_result_does_not_depend_on_threads_or_runs(channels_first: bool) -> None:
    logits = torch.randn(2, 20, 33, 41)
    labels = torch.randint(-2, 20, (2, 33, 41))
    logits = logits.permute(0, 2, 3, 1) if channels_first else logits.permute(0, 2, 3, 1).clone()
    results = []
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        results.append(loss_and_gradient(fcos_ops.sigmoid_focal_loss, logits, labels))
    for loss, gradient in results[1:]:
        assert torch.equal(loss, results[0][0]) and torch.equal(gradient, results[0][1])


def test_normalizer() -> None:
    logits, labels = torch.randn(8, 5), torch.randint(-1, 5, (8,))
    plain = fcos_ops.sigmoid_focal_loss(logits, labels)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.int32, torch.int64):
        value = torch.tensor([4], dtype=dtype)
        divided = fcos_ops.sigmoid_focal_loss(logits, labels, normalizer=value)
        assert torch.allclose(divided, plain / 4)
    zero = torch.tensor(0)
    assert torch.equal(fcos_ops.sigmoid_focal_loss(logits, labels, normalizer=zero), plain)
    small = fcos_ops.sigmoid_focal_loss(logits, labels, normalizer=0.25, normalizer_floor=0.0)
    assert torch.allclose(small, plain * 4)


@given(
    rows=st.integers(0, 70),
    classes=st.integers(1, 40),
    gamma=st.sampled_from(GAMMAS),
    alpha=st.sampled_from([-1.0, 0.0, 0.01, 0.25, 0.5, 1.0]),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=60)
def test_any_shape(rows: int, classes: int, gamma: float, alpha: float, seed: int) -> None:
    torch.manual_seed(seed)
    logits = torch.randn(rows, classes) * 6
    assert_matches_reference(logits, make_labels(logits, False), gamma=gamma, alpha=alpha)
