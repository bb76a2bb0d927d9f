"""Problems for the tests of fcos_loss, and the comparison with the reference ops in float64."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import fcos_ops
from fcos_ops import LOSS_RULES, Level, reference
from tests.common import assert_near

SIZES = ((24, 41), (12, 21), (6, 11), (3, 6), (2, 3))
LOSSES = 3  # of the five fields of FcosLosses
BOX_KINDS = ("iou", "linear_iou", "giou", "diou", "ciou")
LAYOUTS = pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"]
)


class Problem(NamedTuple):
    heads: tuple[list[Tensor], list[Tensor], list[Tensor]]
    truth: tuple[Tensor, Tensor, Tensor]
    levels: tuple[Level, ...]


def make_problem(
    classes: int = 20,
    per_image: Sequence[int] = (5, 0, 4),
    sizes: Sequence[tuple[int, int]] = SIZES,
    rule: str = "improved",
    layout: torch.memory_format = torch.contiguous_format,
) -> Problem:
    """Float64 heads and ragged boxes. Corners are multiples of 1/4, so that float32 and float64
    match alike."""
    batch, count = len(per_image), sum(per_image)
    levels = fcos_ops.pyramid_levels(SIZES, rule=rule)[: len(sizes)]
    levels = tuple(
        level._replace(height=h, width=w) for level, (h, w) in zip(levels, sizes, strict=True)
    )
    normalised = fcos_ops.ASSIGNMENT_RULES[rule].normalize_ltrb

    def maps(channels: int) -> list[Tensor]:
        result = [torch.randn(batch, channels, h, w, dtype=torch.float64) for h, w in sizes]
        return [tensor.to(memory_format=layout) for tensor in result]

    ltrb = [
        (tensor.abs() * (2 if normalised else 2 * level.scale)).to(memory_format=layout)
        for tensor, level in zip(maps(4), levels, strict=True)
    ]
    boxes = torch.rand(count, 4) * torch.tensor([200.0, 130, 200, 130])
    boxes[:, 2:] = boxes[:, :2] + boxes[:, 2:].clamp(min=20)
    labels = torch.randint(0, max(classes, 1), (count,))
    offsets = torch.tensor([0, *per_image]).cumsum(0)
    logits = [tensor * 3 - 2 for tensor in maps(classes)]
    return Problem((logits, ltrb, maps(1)), ((boxes * 4).round() / 4, labels, offsets), levels)


def to(problem: Problem, dtype: torch.dtype, requires_grad: bool = True) -> Problem:
    """The heads in another dtype, as leaves of their layout."""
    heads = tuple(
        [tensor.detach().to(dtype).requires_grad_(requires_grad) for tensor in head]
        for head in problem.heads
    )
    return problem._replace(heads=heads)


def run(
    function: Any, problem: Problem, weights: Sequence[float] = (1, 2, 3), **options: Any
) -> Any:
    """The losses, and the gradients of the three heads joined over levels: [B, N, K]."""
    losses = function(*problem.heads, *problem.truth, levels=problem.levels, **options)
    sum(w * loss for w, loss in zip(weights, losses[:LOSSES], strict=True)).backward()
    return losses, [
        torch.cat([t.grad.permute(0, 2, 3, 1).flatten(1, 2) for t in head], 1)
        for head in problem.heads
    ]


def assert_matches_reference(
    problem: Problem, dtype: torch.dtype = torch.float32, scale: float = 1.0, **options: Any
) -> None:
    """Float64 heads come with float64 boxes, so that all of it is float64."""
    problem = to(problem, dtype)
    boxes, labels, offsets = problem.truth
    exact_truth = (boxes.double(), labels, offsets)
    if dtype == torch.float64:
        problem = problem._replace(truth=exact_truth)
    weights = [scale, 2 * scale, 3 * scale]
    losses, gradients = run(fcos_ops.fcos_loss, problem, weights, **options)
    exact_problem = to(problem, torch.float64)._replace(truth=exact_truth)
    options.pop("expected_scale", None)
    exact_losses, exact_gradients = run(reference.fcos_loss, exact_problem, weights, **options)

    real = torch.float64 if dtype == torch.float64 else torch.float32
    for loss, exact in zip(losses, exact_losses, strict=True):
        assert loss.dtype == real
        assert_near(loss.detach(), exact.detach(), real)
    positive = reference.assign_targets(
        problem.levels, boxes, labels, offsets, rule=options.get("rule", "improved")
    ).labels
    one_hot = positive[..., None] == torch.arange(gradients[0].shape[-1])
    masks = [one_hot] + [(positive >= 0)[..., None].expand_as(g) for g in gradients[1:]]
    for gradient, exact, mask in zip(gradients, exact_gradients, masks, strict=True):
        assert gradient.dtype == dtype
        assert_near(gradient, exact, dtype, mask)


def losses_of(problem: Problem, **options: Any) -> Any:
    return fcos_ops.fcos_loss(*problem.heads, *problem.truth, levels=problem.levels, **options)


def gradients_of(problem: Problem, loss: Tensor, **options: Any) -> list[Tensor]:
    leaves = [t for head in problem.heads for t in head if t.requires_grad]
    return [g for g in torch.autograd.grad(loss, leaves, allow_unused=True, **options)]


def op_arguments(
    problem: Problem,
    store: Sequence[bool],
    factor: float | None = None,
    expected: Tensor | None = None,
) -> tuple[Any, ...]:
    boxes, labels, _ = problem.truth
    sizes_and_strides = [n for level in problem.levels for n in level[:4]]
    scales_and_ranges = [n for level in problem.levels for n in level[4:]]
    targets = reference.assign_targets(problem.levels, *problem.truth)
    heads = [t for head in problem.heads for t in head]
    counts = torch.stack([targets.num_pos.to(torch.float32), targets.centerness_sum])
    rule = (0.5, True, *LOSS_RULES["improved"])
    inputs = (heads, targets.matched.int(), boxes, labels, counts, expected)
    return (*inputs, sizes_and_strides, scales_and_ranges, *rule, factor, *store)
