"""sigmoid_focal_loss against the float64 reference, and as a citizen of torch."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import fcos_ops
from fcos_ops import reference
from tests.common import DTYPES, assert_near

SHAPES = [(37, 80), (3, 7, 5, 4), (300, 1), (5, 1203), (2, 3, 2, 2, 9), (9,), (0, 80), (4, 0)]
GAMMAS = [0.0, 0.5, 1.0, 2.0, 3.3]


def make_labels(logits: Tensor, dense: bool) -> Tensor:
    """Mostly background, with every kind of label; or soft targets with exact 0s and 1s."""
    if dense:
        targets = torch.rand(logits.shape) * 1.4 - 0.2
        return targets.clamp(0, 1)
    labels = torch.randint(-2, max(logits.shape[-1], 1), logits.shape[:-1])
    return torch.where(torch.rand(labels.shape) < 0.5, -1, labels)


def positives(labels: Tensor, logits: Tensor) -> Tensor:
    if labels.is_floating_point():
        return labels > 0.5
    return labels[..., None] == torch.arange(logits.shape[-1])


def loss_and_gradient(function: Any, logits: Tensor, labels: Tensor, **options: Any) -> Any:
    logits = logits.detach().requires_grad_()
    loss = function(logits, labels, **options)
    # As large as a loss scale: a float16 gradient would be subnormal without one.
    weights = torch.linspace(500, 2000, loss.numel(), dtype=torch.float64).reshape(loss.shape)
    loss.backward(weights.to(loss.dtype))
    return loss.detach(), logits.grad


def assert_matches_reference(logits: Tensor, labels: Tensor, **options: Any) -> None:
    loss, gradient = loss_and_gradient(fcos_ops.sigmoid_focal_loss, logits, labels, **options)
    exact_loss, exact_gradient = loss_and_gradient(
        reference.sigmoid_focal_loss, logits.double(), labels, **options
    )
    real = torch.float64 if logits.dtype == torch.float64 else torch.float32
    assert loss.dtype == real and gradient.dtype == logits.dtype
    where = positives(labels, logits)
    assert_near(loss, exact_loss, real, where if loss.shape == where.shape else None)
    assert_near(gradient, exact_gradient, logits.dtype, where)


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


def test_float16_gradient_survives_its_loss_scale() -> None:
    """A gradient of 4e-9, below half's range, comes out right once the loss is scaled up."""
    logits = torch.full((64, 80), -4.6, dtype=torch.float16, requires_grad=True)
    labels = torch.full((64,), -1)
    scale = 2.0**16
    loss = fcos_ops.sigmoid_focal_loss(logits, labels, normalizer=5000.0)
    (loss * scale).backward()
    x = logits.detach().double().requires_grad_()
    (reference.sigmoid_focal_loss(x, labels, normalizer=5000.0) * scale).backward()
    assert x.grad.abs().max() / scale < 6e-8  # the smallest subnormal half
    assert_near(logits.grad, x.grad, torch.float16)


@pytest.mark.every_device
@pytest.mark.parametrize("dense", [False, True], ids=["labels", "dense"])
@pytest.mark.parametrize(
    "strided",
    [
        lambda x: x,
        lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
        lambda x: x.permute(0, 2, 3, 1),
        lambda x: x[:, ::2, 1:, 3:],
        lambda x: x.flip(0).transpose(0, 3),
        lambda x: x[:1].expand(3, -1, -1, -1),
        lambda x: x[..., None].expand(-1, -1, -1, -1, 3).transpose(3, 4)[..., 2:],
    ],
    ids=["nchw", "channels_last", "nhwc_view", "slice", "transpose", "expand", "5d"],
)
def test_strides(strided: Any, dense: bool) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        logits = strided(torch.randn(2, 12, 9, 300, dtype=torch.float64) * 3).to(dtype)
        labels = make_labels(logits, dense)
        for reduction in ("sum", "none"):
            assert_matches_reference(logits, labels, reduction=reduction)


@pytest.mark.every_device
@pytest.mark.parametrize("classes", [1, 3, 4, 8, 13, 80, 91])
def test_lines_that_are_not_aligned(classes: int) -> None:
    """Rows that start anywhere in memory, around the lengths of vectors and of tiles."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for rows in (1, 2, 7, 2049 // classes + 1):
            for offset in (0, 1):
                logits = (torch.randn(rows * classes + offset) * 4).to(dtype)[offset:]
                logits = logits.reshape(rows, classes)
                labels = make_labels(logits, False)
                weight = torch.rand(rows)
                assert_matches_reference(logits, labels)
                assert_matches_reference(logits, labels.int(), weight=weight)


@pytest.mark.every_device
@pytest.mark.parametrize("height, width", [(1, 8), (7, 11), (9, 128), (4, 300)])
def test_planes_that_are_not_aligned(height: int, width: int) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        planes = torch.randn(2 * 21 * height * width + 1).to(dtype)[1:]
        logits = planes.reshape(2, 21, height, width).permute(0, 2, 3, 1)
        labels = make_labels(logits, False)
        assert_matches_reference(logits, labels)
        assert_matches_reference(logits.clone(), labels, weight=torch.rand(labels.shape))


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


def test_gradient_under_retain_graph_and_scaling() -> None:
    logits = torch.randn(8, 5, requires_grad=True)
    labels = torch.randint(-1, 5, (8,))
    (once,) = torch.autograd.grad(fcos_ops.sigmoid_focal_loss(logits, labels), logits)
    loss = fcos_ops.sigmoid_focal_loss(logits, labels)
    (kept,) = torch.autograd.grad(3 * loss, logits, retain_graph=True)
    (again,) = torch.autograd.grad(loss, logits)
    assert torch.equal(again, once) and torch.allclose(kept, 3 * once)


def test_second_derivative_raises_instead_of_vanishing() -> None:
    logits = torch.randn(8, 5, requires_grad=True)
    labels = torch.randint(-1, 5, (8,))
    loss = fcos_ops.sigmoid_focal_loss(logits, labels)
    (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiated only once"):
        (gradient.square().sum() + logits.sum()).backward()


def test_no_gradient_is_computed_where_none_is_asked_for() -> None:
    logits = torch.randn(8, 5, requires_grad=True)
    labels = torch.randint(-1, 5, (8,))
    with torch.no_grad():
        assert not fcos_ops.sigmoid_focal_loss(logits, labels).requires_grad
    with torch.inference_mode():
        assert not fcos_ops.sigmoid_focal_loss(logits, labels).requires_grad


def test_autocast_leaves_the_logits_as_they_are() -> None:
    layer, labels = torch.nn.Linear(16, 20), torch.randint(-1, 20, (50,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = layer(torch.randn(50, 16))
        loss = fcos_ops.sigmoid_focal_loss(logits, labels)
    assert logits.dtype == torch.bfloat16 and loss.dtype == torch.float32
    assert_near(loss, reference.sigmoid_focal_loss(logits.double(), labels).detach(), torch.float32)
    loss.backward()
    assert layer.weight.grad is not None and layer.weight.grad.isfinite().all()


def test_gradcheck() -> None:
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    for labels in (torch.tensor([0, -1, 2, -2]), torch.rand(4, 3)):
        for gamma in GAMMAS:
            for reduction in ("sum", "mean", "none"):
                torch.autograd.gradcheck(
                    lambda x, labels=labels, gamma=gamma, reduction=reduction: (
                        fcos_ops.sigmoid_focal_loss(x, labels, gamma=gamma, reduction=reduction)
                    ),
                    logits,
                )


# (dtype, reduction, requires_grad, dense, normalizer)
OPCHECK_CASES = [
    (torch.float32, "sum", True, False, None),
    (torch.float32, "mean", True, True, None),
    (torch.float16, "sum", True, False, 3.0),
    (torch.bfloat16, "none", True, True, 3.0),
    (torch.float64, "none", False, False, None),
]


@pytest.mark.parametrize("case", OPCHECK_CASES, ids=str)
def test_opcheck(case: Any) -> None:
    dtype, reduction, requires_grad, dense, normalizer = case
    logits = torch.randn(2, 5, 3, 4, dtype=dtype).permute(0, 2, 3, 1).requires_grad_(requires_grad)
    labels = make_labels(logits.detach(), dense)
    divisor = None if normalizer is None else torch.tensor(normalizer)
    store = requires_grad and (dtype != torch.float16 or reduction == "none")
    arguments = (logits, labels, None, divisor, 1.0, 1.0, 0.25, 2.0, reduction, store)
    torch.library.opcheck(torch.ops.fcos_ops.sigmoid_focal_loss.default, arguments)


class Loss(torch.nn.Module):
    def forward(self, logits: Tensor, labels: Tensor, normalizer: Tensor) -> Tensor:
        return fcos_ops.sigmoid_focal_loss(logits * 2, labels, normalizer=normalizer) * 3


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
def test_compile_and_export(backend: str) -> None:
    eager, count = Loss(), torch.tensor(3)
    with fcos_ops.backend(backend):
        compiled = torch.compile(eager, fullgraph=True, dynamic=True)
        for rows in (6, 11):
            logits = torch.randn(rows, 5, requires_grad=True)
            labels = torch.randint(-2, 5, (rows,))
            (actual,) = torch.autograd.grad(compiled(logits, labels, count), logits)
            (expected,) = torch.autograd.grad(eager(logits, labels, count), logits)
            assert torch.allclose(actual, expected, atol=1e-6)
        rows = torch.export.Dim("rows")
        shapes = ({0: rows}, {0: rows}, None)
        program = torch.export.export(
            eager, (torch.randn(6, 5), labels[:6], count), dynamic_shapes=shapes
        )
        actual = program.module()(logits.detach(), labels, count)
        assert torch.allclose(actual, eager(logits.detach(), labels, count))


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


X, L = torch.zeros(4, 3), torch.zeros(4, dtype=torch.long)
BAD_INPUT = [
    (([1.0], L), {}, TypeError, "logits must be a torch.Tensor"),
    ((X.int(), L), {}, TypeError, "logits must have dtype"),
    ((X.to_sparse(), L), {}, TypeError, "logits must be a dense tensor"),
    ((torch.tensor(1.0), torch.tensor(0)), {}, ValueError, "logits must have shape"),
    ((X, None), {}, TypeError, "labels must be a torch.Tensor"),
    ((X, L.to(torch.uint8)), {}, TypeError, "labels must have dtype"),
    ((X, L[:3]), {}, ValueError, "labels must have shape"),
    ((X, X[:, :2]), {}, ValueError, "labels must have shape"),
    ((X, L.to("meta")), {}, ValueError, "labels must be on the device"),
    ((X, X.clone().requires_grad_()), {}, ValueError, "labels is not differentiable"),
    ((X, L), {"alpha": 1.5}, ValueError, "alpha"),
    ((X, L), {"alpha": math.nan}, ValueError, "alpha"),
    ((X, L), {"gamma": -1}, ValueError, "gamma"),
    ((X, L), {"gamma": math.nan}, ValueError, "gamma"),
    ((X, L), {"gamma": math.inf}, ValueError, "gamma"),
    ((X, L), {"gamma": "2"}, TypeError, "gamma"),
    ((X, L), {"weight": X}, ValueError, "weight must have shape"),
    ((X, L), {"weight": L}, TypeError, "weight must have dtype"),
    ((X, L), {"reduction": "avg"}, ValueError, "reduction"),
    ((X, L), {"normalizer": 0.5}, ValueError, "normalizer"),
    ((X, L), {"normalizer": math.nan}, ValueError, "normalizer"),
    ((X, L), {"normalizer": "3"}, TypeError, "normalizer"),
    ((X, L), {"normalizer": torch.ones(2)}, ValueError, "normalizer"),
    ((X, L), {"normalizer": 2, "reduction": "mean"}, ValueError, "normalizer"),
    ((X, L), {"normalizer": 2, "normalizer_floor": -1}, ValueError, "normalizer_floor"),
]


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
@pytest.mark.parametrize("arguments, options, error, message", BAD_INPUT)
def test_bad_input(
    arguments: Any, options: Any, error: type[Exception], message: str, backend: str
) -> None:
    with fcos_ops.backend(backend), pytest.raises(error, match=message):
        fcos_ops.sigmoid_focal_loss(*arguments, **options)
