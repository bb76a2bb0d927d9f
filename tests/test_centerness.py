"""centerness_target and centerness_loss against the float64 reference, and as citizens of torch."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import fcos_ops
from fcos_ops import reference
from tests.common import DTYPES, assert_near

SHAPES = [(), (0,), (1,), (7,), (33,), (3, 0), (2, 1025), (2, 3, 4, 5, 6)]


def make_ltrb(shape: tuple[int, ...]) -> Tensor:
    """Mostly inside their boxes, some with a side that is zero or negative."""
    ltrb = torch.rand(*shape, 4, dtype=torch.float64) * 100
    return torch.where(torch.rand(ltrb.shape) < 0.05, -ltrb.floor(), ltrb)


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
def test_strides(dtype: torch.dtype) -> None:
    maps = make_ltrb((2, 9, 11)).to(dtype).permute(0, 3, 1, 2).contiguous()
    for ltrb in (maps.permute(0, 2, 3, 1), maps.permute(0, 2, 3, 1)[:, ::2, 1:]):
        assert not ltrb.is_contiguous()
        actual = fcos_ops.centerness_target(ltrb)
        assert torch.equal(actual, fcos_ops.centerness_target(ltrb.contiguous()))
    logits = torch.randn(9, 300, dtype=torch.float64).to(dtype).t()
    target = torch.rand(9, 300).t()
    labels = torch.randint(-2, 3, (9, 300)).t()
    assert_matches_reference(logits, target, labels=labels)
    assert_matches_reference(logits[::3], target[::3], mask=labels[::3] >= 0, reduction="none")


def loss_and_gradient(function: Any, logits: Tensor, target: Tensor, **options: Any) -> Any:
    logits = logits.detach().requires_grad_()
    loss = function(logits, target, **options)
    weights = torch.linspace(500, 2000, loss.numel(), dtype=torch.float64).reshape(loss.shape)
    loss.backward(weights.to(loss.dtype))
    return loss.detach(), logits.grad


def assert_matches_reference(logits: Tensor, target: Tensor, **options: Any) -> None:
    loss, gradient = loss_and_gradient(fcos_ops.centerness_loss, logits, target, **options)
    exact_loss, exact_gradient = loss_and_gradient(
        reference.centerness_loss, logits.double(), target, **options
    )
    real = torch.float64 if logits.dtype == torch.float64 else torch.float32
    assert loss.dtype == real and gradient.dtype == logits.dtype
    assert_near(loss, exact_loss, real)
    assert_near(gradient, exact_gradient, logits.dtype)


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
def test_places_that_do_not_count_may_hold_anything() -> None:
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


def test_gradcheck() -> None:
    logits = torch.randn(6, dtype=torch.float64, requires_grad=True)
    target, labels = torch.rand(6, dtype=torch.float64), torch.tensor([0, -1, 3, 1, -2, 0])
    for reduction in ("sum", "mean", "none"):
        torch.autograd.gradcheck(
            lambda x, r=reduction: fcos_ops.centerness_loss(x, target, labels=labels, reduction=r),
            logits,
        )


def test_second_derivative_raises() -> None:
    logits = torch.randn(6, requires_grad=True)
    loss = fcos_ops.centerness_loss(logits, torch.rand(6))
    (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiated only once"):
        gradient.sum().backward()


def test_opcheck() -> None:
    ops = torch.ops.fcos_ops
    for ltrb in (torch.rand(5, 4), torch.rand(2, 4, 3, 2).permute(0, 2, 3, 1)):
        torch.library.opcheck(ops.centerness_target.default, (ltrb,))
    for dtype, reduction, requires_grad in (
        (torch.float32, "sum", True),
        (torch.float16, "mean", True),
        (torch.bfloat16, "none", True),
        (torch.float64, "sum", False),
    ):
        logits = torch.randn(4, 5, dtype=dtype).t().requires_grad_(requires_grad)
        store = requires_grad and (dtype != torch.float16 or reduction == "none")
        labels = torch.randint(-1, 2, (5, 4))
        arguments = (logits, torch.rand(5, 4), None, labels, None, 1.0, 1.0, reduction, store)
        torch.library.opcheck(ops.centerness_loss.default, arguments)


class Loss(torch.nn.Module):
    def forward(self, logits: Tensor, ltrb: Tensor, labels: Tensor) -> Tensor:
        target = fcos_ops.centerness_target(ltrb * 2)
        return fcos_ops.centerness_loss(logits * 2, target, labels=labels) * 3


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
def test_compile_and_export(backend: str) -> None:
    eager = Loss()
    with fcos_ops.backend(backend):
        compiled = torch.compile(eager, fullgraph=True, dynamic=True)
        for rows in (6, 11):
            logits = torch.randn(rows, requires_grad=True)
            inputs = (torch.rand(rows, 4), torch.randint(-1, 2, (rows,)))
            (actual,) = torch.autograd.grad(compiled(logits, *inputs), logits)
            (expected,) = torch.autograd.grad(eager(logits, *inputs), logits)
            assert torch.allclose(actual, expected, atol=1e-6)
        size = torch.export.Dim("rows")
        example = (torch.randn(6), torch.rand(6, 4), torch.zeros(6, dtype=torch.long))
        program = torch.export.export(eager, example, dynamic_shapes=({0: size},) * 3)
        arguments = (logits.detach(), *inputs)
        assert torch.allclose(program.module()(*arguments), eager(*arguments))


@pytest.mark.every_device
@given(count=st.integers(0, 1200), seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_any_size(count: int, seed: int) -> None:
    torch.manual_seed(seed)
    labels = torch.randint(-1, 2, (count,))
    assert_matches_reference(torch.randn(count) * 5, torch.rand(count), labels=labels)


X, T = torch.zeros(4), torch.zeros(4)
BAD_LOSS_INPUT = [
    (([1.0], T), {}, TypeError, "logits must be a torch.Tensor"),
    ((X.int(), T), {}, TypeError, "logits must have dtype"),
    ((X, T.int()), {}, TypeError, "target must have dtype"),
    ((X, T[:3]), {}, ValueError, "target must have shape"),
    ((X, T.to("meta")), {}, ValueError, "target must be on the device"),
    ((X, T.clone().requires_grad_()), {}, ValueError, "target is not differentiable"),
    ((X, T), {"mask": X}, TypeError, "mask must have dtype"),
    ((X, T), {"mask": X[:2] > 0}, ValueError, "mask must have shape"),
    ((X, T), {"labels": X}, TypeError, "labels must have dtype"),
    ((X, T), {"labels": X[:2].long()}, ValueError, "labels must have shape"),
    ((X, T), {"labels": X.long(), "mask": X > 0}, ValueError, "mask and labels"),
    ((X, T), {"reduction": "avg"}, ValueError, "reduction"),
    ((X, T), {"normalizer": 0.5}, ValueError, "normalizer"),
    ((X, T), {"normalizer": 2, "reduction": "mean"}, ValueError, "normalizer"),
]


@pytest.mark.parametrize("arguments, options, error, message", BAD_LOSS_INPUT)
def test_bad_loss_input(arguments: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fcos_ops.centerness_loss(*arguments, **options)


@pytest.mark.parametrize(
    "ltrb, error, message",
    [
        (None, TypeError, "ltrb must be a torch.Tensor"),
        (torch.zeros(3, 4).long(), TypeError, "ltrb must have dtype"),
        (torch.zeros(3, 5), ValueError, "ltrb must have shape"),
        (torch.tensor(1.0), ValueError, "ltrb must have shape"),
        (torch.zeros(3, 4, requires_grad=True), ValueError, "ltrb is not differentiable"),
    ],
)
def test_bad_target_input(ltrb: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fcos_ops.centerness_target(ltrb)
