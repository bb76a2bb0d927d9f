"""sigmoid_focal_loss of infinite logits, of many equal ones, and divided by next to nothing."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops
from fcos_ops import reference
from tests.common import DTYPES, assert_near
from tests.inputs.focal_loss import loss_and_gradient, make_labels

INF = math.inf
GAMMAS = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 3e38]
LAYOUTS = pytest.mark.parametrize("channels_first", [False, True], ids=["rows", "planes"])


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """As near as float32 is, infinities in the same places."""
    torch.testing.assert_close(actual.double(), expected.double(), rtol=2e-6, atol=1e-30)


@pytest.mark.every_device
@pytest.mark.parametrize("gamma", GAMMAS)
def test_limits_of_labels(gamma: float) -> None:
    logits = torch.tensor([[INF, -INF]] * 2)
    for alpha, factors in ((-1.0, (1.0, 1.0)), (0.25, (0.25, 0.75)), (1.0, (1.0, 0.0))):
        positive, negative = factors
        for function in (fcos_ops.sigmoid_focal_loss, reference.sigmoid_focal_loss):
            x = logits.clone().requires_grad_()
            # Class 0 is right in the first row, class 1 in the second.
            labels = torch.tensor([0, 1])
            loss = function(x, labels, gamma=gamma, alpha=alpha, reduction="none")
            (gradient,) = torch.autograd.grad(loss.sum(), x)
            cost = INF if negative > 0 else 0.0
            assert loss.tolist() == [[0, 0], [cost, INF]]
            assert gradient.tolist() == [[0, 0], [negative, -positive]]


@pytest.mark.every_device
@pytest.mark.parametrize("gamma", GAMMAS)
def test_limits_of_dense_targets(gamma: float) -> None:
    targets = torch.tensor([0.0, 0.25, 1.0])
    for function in (fcos_ops.sigmoid_focal_loss, reference.sigmoid_focal_loss):
        for sign, wrong in ((1, 1 - targets), (-1, targets)):
            x = torch.full((3,), sign * INF, requires_grad=True)
            loss = function(x, targets, gamma=gamma, alpha=-1.0, reduction="none")
            (gradient,) = torch.autograd.grad(loss.sum(), x)
            assert loss.tolist() == [INF if share > 0 else 0 for share in wrong]
            assert_close(gradient, sign * wrong.double() ** (gamma + 1))


@pytest.mark.every_device
@LAYOUTS
@pytest.mark.parametrize("dense", [False, True], ids=["labels", "dense"])
@pytest.mark.parametrize("gamma", GAMMAS[:-1])
def test_infinite_logits_among_others(gamma: float, dense: bool, channels_first: bool) -> None:
    for dtype in DTYPES:
        logits = torch.randn(3, 5, 7, 24) * 3
        logits = torch.where(torch.rand(logits.shape) < 0.2, logits.sign() * INF, logits).to(dtype)
        if channels_first:
            logits = logits.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
        labels = make_labels(logits, dense)
        weight = torch.rand(3, 5, 7).round(decimals=1)  # some 0
        for options in ({}, {"weight": weight}, {"reduction": "none", "alpha": 1.0}):
            arguments: Any = {"gamma": gamma, **options}
            loss, gradient = loss_and_gradient(
                fcos_ops.sigmoid_focal_loss, logits, labels, **arguments
            )
            exact_loss, exact_gradient = loss_and_gradient(
                reference.sigmoid_focal_loss, logits.double(), labels, **arguments
            )
            infinite = exact_loss == INF
            assert infinite.any() and torch.equal(loss == INF, infinite)
            real = torch.float64 if dtype == torch.float64 else torch.float32
            assert_near(loss[~infinite], exact_loss[~infinite], real)
            assert_near(gradient, exact_gradient, dtype)


@pytest.mark.every_device
@LAYOUTS
@pytest.mark.parametrize("dense", [False, True], ids=["labels", "dense"])
def test_sum_of_many_equal_logits(dense: bool, channels_first: bool) -> None:
    """As a new head gives them: no random signs help the rounding errors."""
    for value in (-4.5951, 0.3, 2.7):
        logits = torch.full((1, 4000, 20), value)
        if channels_first:
            logits = logits.permute(0, 2, 1).contiguous().permute(0, 2, 1)
        labels = torch.full_like(logits, 0.3) if dense else torch.full((1, 4000), -1)
        for gamma in (0.0, 1.0, 2.0):
            loss = fcos_ops.sigmoid_focal_loss(logits, labels, gamma=gamma)
            exact = reference.sigmoid_focal_loss(logits.double(), labels, gamma=gamma)
            assert_near(loss, exact, torch.float32)


@pytest.mark.every_device
@LAYOUTS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_every_logit_by_itself(dtype: torch.dtype, channels_first: bool) -> None:
    """Not by the norm of many: the loss of each, and in float32 its gradient, as a negative and as
    a positive, down to where float32 ends."""
    values = torch.cat([torch.linspace(-28, -12, 20), torch.linspace(-12, 20, 40)]).to(dtype)
    for value in (*values, torch.tensor(100.0), torch.tensor(-1e36), torch.tensor(1e36)):
        logits = torch.full((2, 8, 16), value.item()).to(dtype)
        if logits.isinf().any():
            continue
        if channels_first:
            logits = logits.permute(0, 2, 1).contiguous().permute(0, 2, 1)
        labels = torch.tensor([[-1] * 8, [3] * 8])
        for chosen in (0, 1):
            loss, gradient = loss_and_gradient(
                fcos_ops.sigmoid_focal_loss, logits[chosen : chosen + 1], labels[chosen][None]
            )
            exact_loss, exact_gradient = loss_and_gradient(
                reference.sigmoid_focal_loss,
                logits[chosen : chosen + 1].double(),
                labels[chosen][None],
            )
            assert_close(loss, exact_loss)
            if dtype == torch.float32:
                assert_close(gradient, exact_gradient)


@pytest.mark.every_device
@pytest.mark.parametrize("value", [0.0, 1e-320, 1e-310, 1e-42])
def test_tiny_normalizers(value: float) -> None:
    """Nothing is divided by less than the smallest normal number of the maths."""
    labels = torch.tensor([1, -1])
    for dtype, of_normalizer in (
        (torch.float32, torch.float32),
        (torch.float32, torch.float64),
        (torch.float64, torch.float64),
    ):
        logits = torch.tensor([[-20.0, 0.5], [-30.0, -25.0]], dtype=dtype)
        options: Any = {"normalizer_floor": 0.0, "reduction": "none"}
        tiny = torch.tensor(max(value, torch.finfo(dtype).tiny), dtype=torch.float64)
        results = [
            loss_and_gradient(function, logits, labels, normalizer=normalizer, **options)
            for function, normalizer in (
                (fcos_ops.sigmoid_focal_loss, torch.tensor(value, dtype=of_normalizer)),
                (reference.sigmoid_focal_loss, torch.tensor(value, dtype=of_normalizer)),
                (fcos_ops.sigmoid_focal_loss, tiny),
            )
        ]
        for loss, _ in results:
            assert loss.isfinite().all() and (loss > 1e20).any()
            assert_close(loss / 1e30, results[0][0] / 1e30)
        assert torch.equal(results[0][1], results[2][1])
