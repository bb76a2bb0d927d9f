"""Tracers that are no dispatch mode: a trace of torch.jit runs on other values and sizes."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops
from tests.inputs.every_op import DIFFERENTIABLE, EVERY_OP, REDUCED, SIZES, boxes

pytestmark = [
    # The checks of sizes, which a trace does not keep: its ops check what they get themselves.
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def traced(function: Callable[..., Any], arguments: tuple[Tensor, ...]) -> Any:
    """The trace of a function, saved and loaded."""
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(function, arguments, check_trace=False), file)
    file.seek(0)
    return torch.jit.load(file)


def assert_same(actual: Any, expected: Any) -> None:
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == e.dtype and torch.equal(a, e)


@pytest.mark.every_device
@pytest.mark.parametrize("name", EVERY_OP)
def test_a_trace_replays_on_other_values_and_sizes(name: str, device: str) -> None:
    op = EVERY_OP[name]
    program = traced(op.run, op.make(SIZES[0]))
    for n in SIZES:
        arguments = op.make(n)
        assert_same(program(*arguments), op.run(*arguments))


def gradients(name: str, dtype: torch.dtype) -> Callable[..., tuple[Tensor, ...]]:
    """Inputs -> the derivatives of a loss that depends on all results."""
    op = EVERY_OP[name]

    def run(*arguments: Tensor) -> tuple[Tensor, ...]:
        count = op.differentiable
        leaves = [(t * 1).to(dtype).requires_grad_() for t in arguments[:count]]
        results = op.run(*leaves, *arguments[count:])
        total = sum((i + 2) * r for i, r in enumerate(results) if r.requires_grad)
        return torch.autograd.grad(total, leaves)

    return run


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", REDUCED)
def test_a_traced_backward_pass_replays(name: str, dtype: torch.dtype, device: str) -> None:
    """Of scalars: torch's own derivative of a sum is recorded with the sizes that it had."""
    run = gradients(name, dtype)
    make = EVERY_OP[name].make
    if device == "cuda":  # autograd runs it on a thread of its own
        with pytest.raises(RuntimeError, match="use torch.export"):
            traced(run, make(SIZES[0]))
        return
    program = traced(run, make(SIZES[0]))
    for n in SIZES:
        arguments = make(n)
        assert_same(program(*arguments), run(*arguments))


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_trace_made_without_gradients_is_differentiable(name: str) -> None:
    op = EVERY_OP[name]
    program = traced(op.run, op.make(SIZES[0]))
    arguments = op.make(SIZES[1])
    leaves = [t.requires_grad_() for t in arguments[: op.differentiable]]
    derivatives = []
    for run in (program, op.run):
        results = [r for r in run(*arguments) if r.requires_grad]
        total = sum((i + 2) * (r * r).sum() for i, r in enumerate(results))
        derivatives.append(torch.autograd.grad(total, leaves))
    for actual, expected in zip(*derivatives, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-6, atol=0)  # scaled early or late


@pytest.mark.parametrize("name", REDUCED)
def test_a_backward_pass_that_the_tracer_cannot_see_is_refused(name: str) -> None:
    def elsewhere(*arguments: Tensor) -> Tensor:
        with ThreadPoolExecutor(1) as pool, torch.enable_grad():
            leaves = [(t * 1).requires_grad_() for t in arguments[: EVERY_OP[name].differentiable]]
            total = EVERY_OP[name].run(*leaves, *arguments[len(leaves) :])[0]
            return pool.submit(torch.autograd.grad, total, leaves[:1]).result()[0]

    inputs = EVERY_OP[name].make(SIZES[0])
    with pytest.raises(RuntimeError, match="use torch.export"):
        torch.jit.trace(elsewhere, inputs, check_trace=False)
    assert torch.equal(elsewhere(*inputs), elsewhere(*inputs))


def test_a_trace_checks_what_it_replays() -> None:
    program = traced(lambda b, s: fcos_ops.nms(b, s, 0.5), (boxes(4), torch.rand(4)))
    with pytest.raises(RuntimeError, match="scores must have shape"):
        program(boxes(4000), torch.rand(1))


def test_export_to_onnx_by_the_tracer_names_the_op() -> None:
    """It holds the op, for which a user may register a symbolic, not a constant."""

    class Suppress(torch.nn.Module):
        def forward(self, b: Tensor, s: Tensor) -> Tensor:
            return fcos_ops.nms(b, s, 0.5)

    arguments = (boxes(4), torch.rand(4))
    with pytest.raises(torch.onnx.errors.UnsupportedOperatorError, match="fcos_ops::nms"):
        torch.onnx.export(Suppress(), arguments, io.BytesIO(), dynamo=False)


def test_symbolic_tracing_is_refused_with_the_way_out() -> None:
    with pytest.raises(TypeError, match="boxes must be a torch.Tensor, .* torch.export"):
        torch.fx.symbolic_trace(lambda b, s: fcos_ops.nms(b, s, 0.5))


def test_levels_of_traced_sizes_are_refused_by_name() -> None:
    def assign(x: Tensor, *truth: Tensor) -> Any:
        level = fcos_ops.Level(x.shape[2], x.shape[3], 8, 8, 8.0, -1.0, 64.0)
        return fcos_ops.assign_targets([level], *truth)

    inputs = (torch.zeros(1, 1, 4, 4), *EVERY_OP["assign_targets"].make(4))
    with pytest.raises(TypeError, match=r"levels\[0\]\.height must be an int.* torch.export"):
        torch.jit.trace(assign, inputs, check_trace=False)
    with pytest.raises(TypeError, match=r"sizes\[0\].* must be an int.* torch.export"):
        torch.jit.trace(lambda x: fcos_ops.pyramid_levels([x.shape[2:]] * 5), inputs[:1])
