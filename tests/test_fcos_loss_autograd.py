"""The backward pass of fcos_loss: what is asked for, kept, scaled and accumulated."""

from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops
from fcos_ops import LossRule
from tests.inputs.fcos_loss import (
    BOX_KINDS,
    LOSSES,
    gradients_of,
    losses_of,
    make_problem,
    run,
    to,
)


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_graph_kept_scaled_and_used_again(dtype: torch.dtype) -> None:
    problem = to(make_problem(), dtype)
    scale = 1024.0
    once = gradients_of(problem, sum(losses_of(problem)[:LOSSES]) * scale)
    losses = losses_of(problem)
    total = sum(losses[:LOSSES])
    kept = gradients_of(problem, 3 * scale * total, retain_graph=True)
    again = gradients_of(problem, scale * total)
    for a, b, c in zip(once, kept, again, strict=True):
        assert torch.equal(a, c)
        half = dtype == torch.float16  # whose numbers below 6e-5 are 6e-8 apart
        assert torch.allclose(3 * a, b, rtol=1e-2 if half else 1e-6, atol=2e-7 if half else 0)


@pytest.mark.every_device
def test_each_loss_alone() -> None:
    problem = to(make_problem(), torch.float32)
    whole = gradients_of(problem, sum(losses_of(problem)[:LOSSES]))
    levels = len(problem.levels)
    for i in range(LOSSES):
        alone = gradients_of(problem, losses_of(problem)[i])
        for j, (a, b) in enumerate(zip(alone, whole, strict=True)):
            if j // levels == i:
                assert torch.equal(a, b)
            else:
                assert a is None


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2), (1, 2)])
def test_only_some_heads_need_a_gradient(wanted: tuple[int, ...], dtype: torch.dtype) -> None:
    base = make_problem()
    full = to(base, dtype)
    whole = gradients_of(full, sum(losses_of(full)[:LOSSES]) * 512)
    some = to(base, dtype, False)
    for i in wanted:
        for tensor in some.heads[i]:
            tensor.requires_grad_()
    found = gradients_of(some, sum(losses_of(some)[i] for i in wanted) * 512)
    levels = len(base.levels)
    expected = [g for i in wanted for g in whole[i * levels : (i + 1) * levels]]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.every_device
def test_only_some_levels_need_a_gradient() -> None:
    problem = to(make_problem(), torch.float32)
    problem.heads[0][1] = problem.heads[0][1].detach()
    losses, whole = losses_of(problem), to(problem, torch.float32)
    losses.classification.backward()
    losses_of(whole).classification.backward()
    assert problem.heads[0][1].grad is None
    assert torch.equal(problem.heads[0][0].grad, whole.heads[0][0].grad)


def test_no_gradient_is_computed_where_none_is_asked_for() -> None:
    problem = to(make_problem(), torch.float32)
    with torch.no_grad():
        losses = losses_of(problem)
    assert not any(loss.requires_grad for loss in losses)
    assert not any(loss.requires_grad for loss in losses_of(to(problem, torch.float32, False)))
    assert not losses_of(problem).num_pos.requires_grad


@pytest.mark.every_device
def test_gradients_accumulate() -> None:
    problem = to(make_problem(), torch.float32)
    run(fcos_ops.fcos_loss, problem)
    once = [t.grad.clone() for head in problem.heads for t in head]
    run(fcos_ops.fcos_loss, problem)
    twice = [t.grad for head in problem.heads for t in head]
    assert all(torch.allclose(2 * a, b) for a, b in zip(once, twice, strict=True))


def test_second_derivative_raises_instead_of_vanishing() -> None:
    problem = to(make_problem(), torch.float32)
    total = sum(losses_of(problem)[:LOSSES])
    gradients = gradients_of(problem, total, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiated only once"):
        sum(g.square().sum() for g in gradients).backward()


def test_gradcheck() -> None:
    """CIoU is left out: by definition its derivative takes a part of it for a constant."""
    for kind in BOX_KINDS[:4]:
        for normalizer in ("positives", "per_image"):
            problem = to(make_problem(2, (2, 1), ((2, 3), (1, 1))), torch.float64)
            boxes = torch.tensor([[0.0, 0, 30, 24], [10, 5, 90, 70], [-4, -5, 20, 18]])
            problem = problem._replace(truth=(boxes.double(), *problem.truth[1:]))
            leaves = [t for head in problem.heads for t in head]
            rule = LossRule(kind, normalizer=normalizer)

            def losses(*heads: Tensor, problem: Any = problem, rule: Any = rule) -> Any:
                parts = (heads[:2], heads[2:4], heads[4:])
                return losses_of(problem._replace(heads=parts), loss=rule)[:LOSSES]

            assert losses(*leaves)[1] > 0
            torch.autograd.gradcheck(losses, leaves, fast_mode=True)
