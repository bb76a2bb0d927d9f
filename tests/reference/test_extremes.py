"""The reference at the ends of its ranges, against closed forms in 350 digits and beside the native
ops."""

import math
from decimal import Context, Decimal, localcontext
from functools import cache

import pytest
import torch

import fcos_ops
from tests.common import TOLERANCE, relative_error
from tests.inputs.fcos_loss import make_problem

WRONG_BY = [-1e17, -1e8, -700.0, -87.0, -30.0, -3.0, -0.25, 0.0, 0.25, 3.0, 21.0, 40.0, 50.0]
WRONG_BY += [87.0, 100.0, 700.0, 1e8, 1e17]
GAMMAS = [0.0, 0.1, 0.5, 0.999, 1.0, 1.5, 2.0, 3.0, 1e3, 1e9, 1e18]


@cache
def exact_loss(z: float, gamma: float) -> tuple[float, float]:
    """sigmoid(z)^gamma softplus(z) and its derivative by z."""
    with localcontext(
        Context(prec=350)
    ):  # more than the 304 places by which 1 + exp(-700) is not 1
        x, exponent = Decimal(z), Decimal(gamma)
        e = (-abs(x)).exp()
        log_sum, larger, smaller = (1 + e).ln(), 1 / (1 + e), e / (1 + e)
        softplus, log_p = max(x, 0) + log_sum, min(x, 0) - log_sum
        p, one_minus_p = (larger, smaller) if z > 0 else (smaller, larger)
        modulation = (exponent * log_p).exp()
        slope = modulation * (exponent * one_minus_p * softplus + p)
        return float(modulation * softplus), float(slope)


def check_focal(gamma: float, dtype: torch.dtype, dense: bool) -> None:
    """Each entry by itself, so that the large ones do not hide the small ones."""
    # exp(gamma log(p)) multiplies the rounding of its exponent, of 87 (708) at most before the
    # result is as good as 0.
    bounds = {"rtol": TOLERANCE[dtype] * 10, "atol": torch.finfo(dtype).tiny}
    for label, alpha, sign in ((-1, 0.75, 1), (0, 0.25, -1)):
        logits = (torch.tensor(WRONG_BY, dtype=dtype) * sign)[:, None].requires_grad_()
        labels = torch.full((len(WRONG_BY),), label)
        if dense:
            labels = torch.full_like(logits.detach(), label + 1)
        loss = fcos_ops.sigmoid_focal_loss(logits, labels, gamma=gamma, reduction="none")
        loss.sum().backward()
        exact = [exact_loss(z * sign, gamma) for z in logits.flatten().tolist()]
        losses, slopes = torch.tensor(exact, dtype=torch.float64).T[..., None]
        torch.testing.assert_close(loss.double(), losses * alpha, **bounds)
        torch.testing.assert_close(logits.grad.double(), slopes * alpha * sign, **bounds)


every_gamma = pytest.mark.parametrize("gamma", GAMMAS)
every_maths = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@every_maths
@every_gamma
@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
def test_focal_loss_of_any_logit(backend: str, gamma: float, dtype: torch.dtype) -> None:
    with fcos_ops.backend(backend):
        check_focal(gamma, dtype, dense=False)


@every_maths
@every_gamma
def test_focal_loss_of_any_logit_and_dense_targets(gamma: float, dtype: torch.dtype) -> None:
    with fcos_ops.backend("reference"):
        check_focal(gamma, dtype, dense=True)


@pytest.mark.parametrize("wrong_by", [0.5, 21.0])
def test_a_sigmoid_that_rounds_to_1_is_below_it(wrong_by: float) -> None:
    logits = torch.tensor([[wrong_by]])
    for labels in (torch.tensor([-1]), torch.zeros(1, 1)):
        assert fcos_ops.reference.sigmoid_focal_loss(logits, labels, gamma=1e18) == 0


def test_float32_is_as_exact_as_the_ops() -> None:
    logits, labels = torch.randn(500, 20) * 6, torch.randint(-2, 20, (500,))
    for gamma in (0.5, 1.0, 1.5, 2.0, 4.0):
        results = []
        for dtype in (torch.float32, torch.float64):
            x = logits.to(dtype).requires_grad_()
            loss = fcos_ops.reference.sigmoid_focal_loss(x, labels, gamma=gamma)
            results.append((loss, *torch.autograd.grad(loss, x)))
        for actual, expected in zip(*results, strict=True):
            assert relative_error(actual, expected) <= TOLERANCE[torch.float32]


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
def test_normalize_has_no_gradient(backend: str) -> None:
    """A factor that requires one is a constant: losses of detached heads do not require it."""
    problem = make_problem()
    factor = torch.tensor(2.0, requires_grad=True)
    heads = [[tensor.detach() for tensor in head] for head in problem.heads]
    with fcos_ops.backend(backend):
        losses = fcos_ops.fcos_loss(
            *heads, *problem.truth, levels=problem.levels, normalize=lambda counts: counts * factor
        )
        assert not any(loss.requires_grad for loss in losses)
        half = fcos_ops.fcos_loss(*heads, *problem.truth, levels=problem.levels)
    for loss, twice in zip(losses[:3], half[:3], strict=True):
        torch.testing.assert_close(loss * 2, twice)
    assert math.isfinite(losses.classification)
