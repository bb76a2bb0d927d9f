"""fcos_loss of infinite and of many equal outputs of a head."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops
from fcos_ops import Level, LossRule, reference
from tests.common import assert_near
from tests.inputs.fcos_loss import LAYOUTS, LOSSES, Problem, make_problem, run, to

INF = math.inf


@pytest.mark.every_device
@LAYOUTS
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 1.5, 2.0, 3e38])
def test_infinite_logits(gamma: float, layout: torch.memory_format) -> None:
    """They cost nothing where they are right, infinity where they are wrong, at slope 1."""
    problem = make_problem(9, sizes=((12, 21), (6, 11)), layout=layout)
    targets = reference.assign_targets(problem.levels, *problem.truth)
    is_class = targets.labels[..., None] == torch.arange(9)
    positive = (targets.labels >= 0)[..., None]
    assert positive.any()
    rule = LossRule(alpha=-1.0, gamma=gamma)
    for function in (fcos_ops.fcos_loss, reference.fcos_loss):
        for sign in (-1.0, 1.0):
            heads = [[torch.full_like(t, sign * INF) for t in head] for head in problem.heads]
            heads[1] = problem.heads[1]
            changed = to(problem._replace(heads=tuple(heads)), torch.float32)
            losses, gradients = run(function, changed, (1, 1, 1), loss=rule)
            assert losses.classification == losses.centerness == INF
            count = losses.num_pos.clamp(min=1)
            wrong = is_class if sign < 0 else ~is_class
            assert torch.allclose(gradients[0], sign * wrong / count, atol=0)
            centerness = targets.centerness[..., None]
            by_center = max(sign, 0) - torch.where(positive, centerness, 0)
            assert torch.allclose(gradients[2], torch.where(positive, by_center / count, 0), atol=0)


@pytest.mark.every_device
def test_nan_distances() -> None:
    """A NaN distance of a positive makes its box gradient NaN, all four, as in the reference."""
    problem = to(make_problem(sizes=((12, 21),)), torch.float32)
    matched = reference.assign_targets(problem.levels, *problem.truth).matched >= 0
    with torch.no_grad():
        problem.heads[1][0][:, 1].fill_(math.nan)
    for function in (fcos_ops.fcos_loss, reference.fcos_loss):
        again = to(problem, torch.float32)
        losses, gradients = run(function, again)
        assert losses.bbox_regression.isnan() and losses.classification.isfinite()
        assert torch.equal(gradients[1].isnan().all(-1), matched)
        assert torch.equal(gradients[1].isnan().any(-1), matched)


@pytest.mark.every_device
@LAYOUTS
def test_sums_of_many_equal_outputs(layout: torch.memory_format) -> None:
    """As a new head gives them: no random signs help the rounding errors."""
    height, width = 100, 102
    level = Level(height, width, 8, 8, 8.0, 0.0, 1e8)
    corners = torch.tensor([[0.0, 0, 8 * width, 8 * height]])
    truth = (corners, torch.zeros(1, dtype=torch.long), torch.tensor([0, 1]))
    for value in (-4.5951, 0.7):
        heads = tuple(
            [torch.full((1, channels, height, width), value).to(memory_format=layout)]
            for channels in (5, 4, 1)
        )
        heads[1][0].fill_(1.3)
        problem = Problem(heads, truth, (level,))
        rule: Any = LossRule("diou", "uniform")
        exact_heads = tuple([t.double() for t in head] for head in heads)
        found, exact = (
            function(*h, *truth, levels=(level,), rule="paper", loss=rule)
            for function, h in (
                (fcos_ops.fcos_loss, problem.heads),
                (reference.fcos_loss, exact_heads),
            )
        )
        assert found.num_pos == height * width
        for loss, expected in zip(found[:LOSSES], exact[:LOSSES], strict=True):
            assert isinstance(loss, Tensor)
            assert_near(loss, expected, torch.float32)
