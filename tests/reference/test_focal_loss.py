import math

import pytest
import torch

from fcos_ops.reference import sigmoid_focal_loss

LN2, LN3, LN4 = math.log(2), math.log(3), math.log(4)


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_is_cross_entropy_without_alpha_and_gamma():
    # Class 0 is wrong with p = 1/2: -log(1/2). Class 1 is right with p = 3/4: -log(3/4).
    loss = sigmoid_focal_loss(
        f64([0.0, LN3]), torch.tensor([1]), alpha=-1, gamma=0, reduction="none"
    )
    torch.testing.assert_close(loss, f64([LN2, LN4 - LN3]))


def test_hand_computed_values_and_gradients():
    logits = f64([0.0, 0.0, LN3, LN3]).T.reshape(4, 1).requires_grad_()
    loss = sigmoid_focal_loss(logits, torch.tensor([0, -1, 0, -1]), reduction="none")
    # alpha_t (1 - p_t)^2 (-log p_t) with p_t = 1/2, 1/2, 3/4, 1/4
    expected = f64(
        1 / 4 * 1 / 4 * LN2,
        3 / 4 * 1 / 4 * LN2,
        1 / 4 * 1 / 16 * (LN4 - LN3),
        3 / 4 * 9 / 16 * LN4,
    )
    torch.testing.assert_close(loss, expected.reshape(4, 1))
    # positive: alpha (1 - p)^2 (2 p log p + p - 1)
    # negative: (1 - alpha) p^2 (p - 2 (1 - p) log(1 - p))
    gradient = f64(
        1 / 4 * 1 / 4 * (-LN2 - 1 / 2),
        3 / 4 * 1 / 4 * (1 / 2 + LN2),
        1 / 4 * 1 / 16 * (3 / 2 * (LN3 - LN4) - 1 / 4),
        3 / 4 * 9 / 16 * (3 / 4 + 1 / 2 * LN4),
    )
    loss.sum().backward()
    torch.testing.assert_close(logits.grad, gradient.reshape(4, 1))


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 1.5, 2, 4.2])
@pytest.mark.parametrize("alpha", [-1, 0, 0.3, 1])
def test_textbook_formula(alpha, gamma):
    logits = torch.linspace(-6, 6, 35, dtype=torch.float64).reshape(7, 5)
    labels = torch.tensor([0, -1, 4, 2, -1, 1, 3])
    expected = torch.zeros(7, 5, dtype=torch.float64)
    for row in range(7):
        for column in range(5):
            p = 1 / (1 + math.exp(-logits[row, column].item()))
            positive = labels[row] == column
            p_t = p if positive else 1 - p
            alpha_t = 1 if alpha < 0 else alpha if positive else 1 - alpha
            expected[row, column] = -alpha_t * (1 - p_t) ** gamma * math.log(p_t)
    options = {"alpha": alpha, "gamma": gamma, "reduction": "none"}
    torch.testing.assert_close(sigmoid_focal_loss(logits, labels, **options), expected)
    dense = (labels[:, None] == torch.arange(5)).double()
    torch.testing.assert_close(sigmoid_focal_loss(logits, dense, **options), expected)


def test_soft_targets():
    # logit 0, target 1/2: cross entropy log 2, p_t = alpha_t = 1/2 (so alpha does not matter)
    for alpha in (0.25, 0.9):
        loss = sigmoid_focal_loss(f64([0.0]), f64([0.5]), alpha=alpha)
        torch.testing.assert_close(loss, torch.tensor(LN2 / 8).double())
    # logit log 3, target 1/4: cross entropy -(log(3/4) + 3 log(1/4)) / 4,
    # p_t = 3/4 * 1/4 + 1/4 * 3/4 = 3/8, alpha_t = 1/4 * 1/4 + 3/4 * 3/4 = 5/8
    loss = sigmoid_focal_loss(f64([LN3]), f64([0.25]), alpha=0.25, gamma=3)
    expected = 5 / 8 * (5 / 8) ** 3 * (LN4 - LN3 + 3 * LN4) / 4
    torch.testing.assert_close(loss, torch.tensor(expected).double())


@pytest.mark.parametrize("gamma", [0, 0.3, 1, 2, 7])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_saturated_logits_have_finite_gradients(dtype, dense, gamma):
    extremes = torch.tensor([-1e4, -200, -89, -17, 0, 17, 89, 200, 1e4], dtype=dtype)
    logits = extremes.repeat(2, 1).T.contiguous().requires_grad_()
    labels = torch.zeros(9, dtype=torch.int64)  # column 0 is right, column 1 wrong
    if dense:
        labels = torch.tensor([[1.0, 0.0]]).expand(9, 2)
    loss = sigmoid_focal_loss(logits, labels, gamma=gamma, alpha=-1, reduction="none")
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad.isfinite().all()
    # Wrong with certainty: loss |logit|, slope 1. Right with certainty: 0 and 0.
    expected = extremes[[0, -1]].abs().diag().to(loss.dtype)
    torch.testing.assert_close(loss[[0, -1]], expected)
    assert logits.grad[[0, -1]].tolist() == [[-1, 0], [0, 1]]


def test_small_probabilities_keep_their_digits():
    # softplus(-30) = log1p(exp(-30)); in 1 - p_t form it would be 0 in float32
    loss = sigmoid_focal_loss(torch.tensor([[-30.0]]), torch.tensor([-1]), alpha=-1, gamma=0)
    torch.testing.assert_close(loss, torch.tensor(math.log1p(math.exp(-30))), rtol=1e-6, atol=0)
    # softplus(25) = 25 + 1.4e-11: torch's softplus with its default threshold returns 25
    loss = sigmoid_focal_loss(f64([25.0]), torch.tensor([-1]), alpha=-1, gamma=0).item()
    assert abs(loss - math.log1p(math.exp(25))) < 1e-14


def test_minus_infinity_switches_a_background_class_off():
    logits = torch.tensor([[-math.inf, 0.0]], requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([-1]), reduction="none")
    loss.sum().backward()
    torch.testing.assert_close(loss, torch.tensor([[0.0, 0.75 * 0.25 * LN2]]))
    assert logits.grad[0, 0] == 0


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_ignored_and_invalid_rows(dtype):
    logits = torch.zeros(6, 3)
    logits[1] = torch.nan
    logits.requires_grad_()
    labels = torch.tensor([-1, -2, 3, -3, 2, 2**31 - 1], dtype=dtype)
    weight = torch.tensor([1.0, torch.inf, 1, 1, 2, 0])
    loss = sigmoid_focal_loss(logits, labels, weight=weight, reduction="none")
    loss.sum().backward()
    for result in (loss, logits.grad):
        assert (result[1] == 0).all()
        assert result[[2, 3, 5]].isnan().all()
        assert result[[0, 4]].isfinite().all()


def test_nan_logit_gives_nan():
    logits = torch.tensor([[0.0, torch.nan]], requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([0]), reduction="none")
    loss.sum().backward()
    assert loss.isnan().tolist() == logits.grad.isnan().tolist() == [[False, True]]


def test_weight_normalizer_reduction():
    logits, labels = torch.randn(2, 3, 5).double(), torch.tensor([[0, 4, -1], [-2, -1, 2]])
    each = sigmoid_focal_loss(logits, labels, reduction="none")
    weight = torch.rand(2, 3)
    weighted = sigmoid_focal_loss(logits, labels, weight=weight, reduction="none")
    torch.testing.assert_close(weighted, each * weight.double()[..., None])
    total = each.sum()
    torch.testing.assert_close(sigmoid_focal_loss(logits, labels), total)
    torch.testing.assert_close(sigmoid_focal_loss(logits, labels, reduction="mean"), total / 30)
    for normalizer in (4, 4.0, torch.tensor(4), torch.tensor([4.0])):
        loss = sigmoid_focal_loss(logits, labels, normalizer=normalizer)
        assert loss.shape == ()
        torch.testing.assert_close(loss, total / 4)
    floored = sigmoid_focal_loss(logits, labels, normalizer=torch.tensor(0))
    torch.testing.assert_close(floored, total)
    floored = sigmoid_focal_loss(logits, labels, normalizer=torch.tensor(1), normalizer_floor=8)
    torch.testing.assert_close(floored, total / 8)

    dense = torch.rand(2, 3, 5).double()
    each = sigmoid_focal_loss(logits, dense, reduction="none")
    for w in (weight, torch.rand(2, 3, 5)):
        weighted = sigmoid_focal_loss(logits, dense, weight=w, reduction="none")
        torch.testing.assert_close(weighted, each * w.double().reshape(2, 3, -1))


@pytest.mark.parametrize("shape", [(0, 80), (4, 0), (0, 0), (2, 0, 3)])
def test_empty(shape):
    logits = torch.zeros(shape, requires_grad=True)
    labels = torch.full(shape[:-1], -1)
    for reduction in ("sum", "mean"):
        loss = sigmoid_focal_loss(logits, labels, reduction=reduction)
        assert loss == 0
        loss.backward()
    assert logits.grad.shape == shape
    assert sigmoid_focal_loss(logits, labels, reduction="none").shape == shape


def test_one_row_without_leading_dimensions():
    loss = sigmoid_focal_loss(torch.zeros(4), torch.tensor(2))
    torch.testing.assert_close(loss, torch.tensor((0.25 + 3 * 0.75) / 4 * LN2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    logits = torch.randn(5, 7, dtype=dtype, requires_grad=True)
    labels = torch.arange(-1, 4)
    loss = sigmoid_focal_loss(logits, labels)
    loss.backward()
    assert loss.dtype == torch.float32
    assert logits.grad.dtype == dtype
    torch.testing.assert_close(loss, sigmoid_focal_loss(logits.detach().float(), labels))


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2])
@pytest.mark.parametrize("dense", [False, True])
def test_gradcheck(dense, gamma):
    logits = torch.linspace(-5, 5, 12, dtype=torch.float64).reshape(4, 3).requires_grad_()
    labels = torch.rand(4, 3) if dense else torch.tensor([0, -1, 2, -2])
    torch.autograd.gradcheck(
        lambda x: sigmoid_focal_loss(x, labels, gamma=gamma, weight=torch.rand(4) * 0 + 0.7),
        logits,
    )


def test_compiles_in_one_graph_for_all_sizes():
    compiled = torch.compile(sigmoid_focal_loss, fullgraph=True, dynamic=True, backend="aot_eager")
    for rows in (3, 8):
        logits, labels = torch.randn(rows, 5), torch.arange(rows) % 6 - 1
        options = {"normalizer": torch.tensor(3.0), "weight": torch.rand(rows)}
        torch.testing.assert_close(
            compiled(logits, labels, **options), sigmoid_focal_loss(logits, labels, **options)
        )
