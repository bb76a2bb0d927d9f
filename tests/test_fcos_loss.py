"""fcos_loss against the reference ops in float64, and as a citizen of torch."""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import fcos_ops
from fcos_ops import LOSS_RULES, Level, LossRule, _native, _views, reference
from fcos_ops.fcos_loss import _OP
from tests import devices
from tests.common import DTYPES, assert_near

SIZES = ((24, 41), (12, 21), (6, 11), (3, 6), (2, 3))
LOSSES = 3  # of the five fields of FcosLosses
BOX_KINDS = ("iou", "linear_iou", "giou", "diou", "ciou")


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
    problem = to(problem, dtype)
    weights = [scale, 2 * scale, 3 * scale]
    losses, gradients = run(fcos_ops.fcos_loss, problem, weights, **options)
    exact_problem = to(problem, torch.float64)
    boxes, labels, offsets = problem.truth
    exact_problem = exact_problem._replace(truth=(boxes.double(), labels, offsets))
    options.pop("expected_scale", None)
    exact_losses, exact_gradients = run(reference.fcos_loss, exact_problem, weights, **options)

    real = torch.float64 if dtype == torch.float64 else torch.float32
    for loss, exact in zip(losses, exact_losses, strict=True):
        assert loss.dtype == real
        # Box and centerness targets are those of the boxes, float32: as assign_targets has them.
        assert_near(loss.detach(), exact.detach(), torch.float32)
    positive = reference.assign_targets(
        problem.levels, boxes, labels, offsets, rule=options.get("rule", "improved")
    ).labels
    one_hot = positive[..., None] == torch.arange(gradients[0].shape[-1])
    masks = [one_hot] + [(positive >= 0)[..., None].expand_as(g) for g in gradients[1:]]
    tolerance = torch.float32 if dtype == torch.float64 else dtype
    for gradient, exact, mask in zip(gradients, exact_gradients, masks, strict=True):
        assert gradient.dtype == dtype
        assert_near(gradient, exact, tolerance, mask)


LAYOUTS = pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"]
)


@pytest.mark.every_device
@LAYOUTS
@pytest.mark.parametrize("name", LOSS_RULES)
def test_presets(name: str, layout: torch.memory_format) -> None:
    problem = make_problem(rule=name, layout=layout)
    for dtype in DTYPES:
        assert_matches_reference(problem, dtype, rule=name, scale=1024.0)


@pytest.mark.every_device
@LAYOUTS
@pytest.mark.parametrize("classes", [0, 1, 7, 8, 600, 1203])
def test_numbers_of_classes(classes: int, layout: torch.memory_format) -> None:
    sizes = SIZES[2:] if classes > 100 else SIZES
    per_image = (4, 3) if classes else (0, 0)
    problem = make_problem(classes, per_image, sizes, layout=layout)
    for dtype in (torch.float32, torch.bfloat16):
        assert_matches_reference(problem, dtype)


@pytest.mark.every_device
@pytest.mark.parametrize(
    "per_image", [(0,), (0, 0), (1,), (0, 7, 0), (40, 3), ()], ids=lambda counts: str(counts)
)
def test_ragged_images(per_image: tuple[int, ...]) -> None:
    problem = make_problem(per_image=per_image)
    assert_matches_reference(problem)
    assert_matches_reference(problem, loss=LossRule(normalizer="per_image"))


@pytest.mark.every_device
@pytest.mark.parametrize(
    "sizes", [((24, 41),), ((1, 1),), ((0, 5), (3, 4)), ((1, 1200), (30, 40))], ids=str
)
def test_level_sizes(sizes: tuple[tuple[int, int], ...]) -> None:
    assert_matches_reference(make_problem(sizes=sizes))


@pytest.mark.every_device
@LAYOUTS
@pytest.mark.parametrize("kind", BOX_KINDS)
@pytest.mark.parametrize("box_weight", ["centerness", "uniform"])
@pytest.mark.parametrize("normalizer", ["positives", "per_image"])
def test_loss_rules(
    kind: str, box_weight: str, normalizer: str, layout: torch.memory_format
) -> None:
    problem = make_problem(sizes=SIZES[1:], layout=layout)
    for alpha, gamma, eps in ((0.25, 2.0, 1e-7), (-1.0, 0.0, 1e-3), (0.5, 1.5, 1e-7)):
        rule = LossRule(kind, box_weight, normalizer, alpha, gamma, eps)
        assert_matches_reference(problem, loss=rule)


def test_loss_rule_follows_the_assignment_rule_by_name() -> None:
    problem = to(make_problem(), torch.float32, False)

    def losses(**options: Any) -> list[float]:
        found = fcos_ops.fcos_loss(*problem.heads, *problem.truth, levels=problem.levels, **options)
        return [float(loss) for loss in found]

    assert losses(rule="detectron2") == losses(rule="detectron2", loss=LOSS_RULES["detectron2"])
    assert losses(rule="detectron2") != losses(rule="detectron2", loss="improved")
    rule = fcos_ops.ASSIGNMENT_RULES["detectron2"]
    assert losses(rule=rule) == losses(rule="detectron2", loss="improved")


@pytest.mark.every_device
@pytest.mark.parametrize(
    "strided",
    [
        lambda x: torch.cat([x, x], 3)[..., ::2],
        lambda x: torch.cat([x, x], 2)[:, :, : x.shape[2]],
        lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
        lambda x: x.flip(0).expand(1, *x.shape)[0],
        lambda x: torch.cat([x] * 3, 1).unflatten(1, (3, x.shape[1]))[:, 1],
        lambda x: x[:1].expand(x.shape[0], -1, -1, -1),
    ],
    ids=["every_second", "cropped", "transposed", "flipped", "channels", "expanded"],
)
def test_strides(strided: Any) -> None:
    problem = make_problem()
    heads = tuple([strided(tensor) for tensor in head] for head in problem.heads)
    for dtype in (torch.float32, torch.bfloat16):
        views = tuple([strided(t.to(dtype)).detach() for t in head] for head in problem.heads)
        for head in views:
            for tensor in head:
                tensor.requires_grad_()
        losses, gradients = run(fcos_ops.fcos_loss, problem._replace(heads=views))
        plain = problem._replace(
            heads=tuple(
                [t.to(dtype).contiguous().detach().requires_grad_() for t in h] for h in heads
            )
        )
        expected, exact_gradients = run(fcos_ops.fcos_loss, plain)
        for loss, exact in zip(losses, expected, strict=True):
            assert_near(loss.detach(), exact.detach(), torch.float32)
        for gradient, exact in zip(gradients, exact_gradients, strict=True):
            assert_near(gradient, exact, dtype)


@pytest.mark.every_device
def test_each_gradient_has_the_layout_of_its_map() -> None:
    problem = to(make_problem(layout=torch.channels_last), torch.float32)
    mixed = problem._replace(
        heads=tuple(
            [t.detach().contiguous().requires_grad_() if i % 2 else t for i, t in enumerate(head)]
            for head in problem.heads
        )
    )
    losses, gradients = run(fcos_ops.fcos_loss, mixed)
    expected, exact_gradients = run(fcos_ops.fcos_loss, to(problem, torch.float32))
    for loss, exact in zip(losses, expected, strict=True):
        assert_near(loss.detach(), exact.detach(), torch.float32)
    for gradient, exact in zip(gradients, exact_gradients, strict=True):
        assert_near(gradient, exact, torch.float32)
    for head in mixed.heads:
        for tensor in head:
            assert tensor.grad is not None and tensor.grad.stride() == tensor.stride()


@pytest.mark.every_device
def test_mixed_dtypes_of_the_heads() -> None:
    """As the presets with exp have it under autocast: logits in half, distances in float32."""
    problem = make_problem(rule="paper")
    dtypes = (torch.float16, torch.float32, torch.bfloat16)
    heads = tuple(
        [t.to(dtype).requires_grad_() for t in head]
        for head, dtype in zip(problem.heads, dtypes, strict=True)
    )
    _, gradients = run(fcos_ops.fcos_loss, problem._replace(heads=heads), rule="paper")
    exact = to(problem._replace(heads=heads), torch.float64)
    _, exact_gradients = run(reference.fcos_loss, exact, rule="paper")
    for gradient, expected, dtype in zip(gradients, exact_gradients, dtypes, strict=True):
        assert gradient.dtype == dtype
        assert_near(gradient, expected, dtype)


@pytest.mark.every_device
def test_boxes_and_offsets_of_other_dtypes() -> None:
    problem = to(make_problem(), torch.float32)
    boxes, labels, offsets = problem.truth
    losses, _ = run(fcos_ops.fcos_loss, problem)
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        coarse = boxes.to(dtype)
        other = problem._replace(truth=(coarse, labels.int(), offsets.int()))
        same = problem._replace(truth=(coarse.float(), labels, offsets))
        for a, b in zip(
            run(fcos_ops.fcos_loss, other)[0], run(fcos_ops.fcos_loss, same)[0], strict=True
        ):
            assert torch.allclose(a, b)
    assert losses.num_pos > 0


@pytest.mark.every_device
def test_labels_that_are_no_class() -> None:
    """-1: background; -2: ignored by the focal loss; neither has the other losses."""
    problem = make_problem(sizes=SIZES[1:])
    boxes, labels, offsets = problem.truth
    for layout in (torch.contiguous_format, torch.channels_last):
        heads = tuple([t.to(memory_format=layout) for t in head] for head in problem.heads)
        for bad in (-1, -2):
            changed = torch.where(torch.arange(len(labels)) % 3 == 0, bad, labels)
            assert_matches_reference(
                problem._replace(heads=heads, truth=(boxes, changed, offsets)), rule="torchvision"
            )
            assert_matches_reference(
                problem._replace(heads=heads, truth=(boxes, changed, offsets)), rule="improved"
            )
        for bad in (20, -3):
            changed = torch.where(torch.arange(len(labels)) == 0, bad, labels)
            wrong = to(problem._replace(heads=heads), torch.float32)
            wrong = wrong._replace(truth=(boxes, changed, offsets))
            losses, gradients = run(fcos_ops.fcos_loss, wrong)
            matched = reference.assign_targets(wrong.levels, *wrong.truth).matched == 0
            assert losses.classification.isnan() and matched.any()
            assert torch.equal(gradients[0].isnan().all(-1), matched)
            assert torch.equal(gradients[0].isnan().any(-1), matched)


@pytest.mark.every_device
@LAYOUTS
def test_matches_that_are_no_box(layout: torch.memory_format) -> None:
    """As the C++ function takes them: whatever is outside [0, num_boxes) is background."""
    problem = to(make_problem(layout=layout), torch.float32, False)
    results = []
    for outside in (-1, len(problem.truth[0]), 2**31 - 1, -(2**31)):
        heads, matched, *rest = op_arguments(problem, (True, True, True))
        assert (matched < 0).any() and (matched == 1).any()
        changed = torch.where((matched < 0) | (matched == 1), outside, matched)
        losses_and_gradients = _OP.kernel(heads, changed, *rest)
        results.append([*losses_and_gradients[:3], *losses_and_gradients[3]])
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


@pytest.mark.every_device
@LAYOUTS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_heads_at_any_address(dtype: torch.dtype, layout: torch.memory_format) -> None:
    """A map, and the gradient beside it, may start anywhere in its storage."""
    problem = to(make_problem(layout=layout), dtype, False)
    expected = _OP.kernel(*op_arguments(problem, (True, True, True)))
    for shift in (1, 2, 7):

        def moved(tensor: Tensor, shift: int = shift) -> Tensor:
            storage = tensor.new_zeros(tensor.numel() + shift)
            return storage[shift:].as_strided(tensor.shape, tensor.stride()).copy_(tensor)

        heads = tuple([moved(t) for t in head] for head in problem.heads)
        found = _OP.kernel(*op_arguments(problem._replace(heads=heads), (True, True, True)))
        for a, b in zip([*found[:3], *found[3]], [*expected[:3], *expected[3]], strict=True):
            assert torch.equal(a, b)


@pytest.mark.every_device
def test_more_locations_than_are_in_flight() -> None:
    """On a GPU blocks take more than one tile of them."""
    level = Level(729, 743, 8, 8, 8.0, 0.0, 1e8)
    heads = tuple([torch.randn(1, channels, 729, 743)] for channels in (1, 4, 1))
    heads[1][0].abs_()
    corners = torch.tensor([[30.0, 20, 400, 300], [5000, 5100, 5900, 5800]])
    truth = (corners, torch.zeros(2, dtype=torch.long), torch.tensor([0, 2]))
    assert_matches_reference(Problem(heads, truth, (level,)))


@pytest.mark.every_device
def test_nan_outputs() -> None:
    """A NaN class logit reaches its loss alone; NaN distances and centerness of the background
    reach nothing."""
    problem = to(make_problem(), torch.float32)
    positive = reference.assign_targets(problem.levels, *problem.truth).labels[:, : 24 * 41] >= 0
    with torch.no_grad():
        for head in problem.heads[1:]:
            head[0].masked_fill_(~positive.view(3, 1, 24, 41), math.nan)
        problem.heads[0][4][0, 3, 1, 1] = math.nan
    losses, gradients = run(fcos_ops.fcos_loss, problem)
    assert losses.classification.isnan()
    assert losses.bbox_regression.isfinite() and losses.centerness.isfinite()
    assert gradients[0].isnan().sum() == 1
    assert gradients[1].isfinite().all() and gradients[2].isfinite().all()


@pytest.mark.every_device
def test_result_does_not_depend_on_threads() -> None:
    for layout in (torch.contiguous_format, torch.channels_last):
        problem = make_problem(layout=layout)
        results = []
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            losses, gradients = run(fcos_ops.fcos_loss, to(problem, torch.float32))
            results.append([*losses, *gradients])
        for other in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


# ------------------------------------------------------------------------------------ normalizers


@pytest.mark.every_device
@pytest.mark.parametrize("normalizer, shape", [("positives", (2,)), ("per_image", (3, 2))])
def test_normalize(normalizer: str, shape: tuple[int, ...]) -> None:
    problem = make_problem()
    seen = []

    def normalize(counts: Tensor) -> Tensor:
        assert counts.shape == shape and not counts.requires_grad
        seen.append(counts)
        return counts * 3 + 7

    rule = LossRule(normalizer=normalizer)
    assert_matches_reference(problem, loss=rule, normalize=normalize)
    assert torch.allclose(seen[0].double(), seen[1])
    targets = reference.assign_targets(problem.levels, *problem.truth)
    assert torch.equal(seen[0].reshape(-1, 2).sum(0)[0], targets.num_pos.float())


@pytest.mark.every_device
def test_normalizers_are_clamped() -> None:
    problem = to(make_problem(), torch.float32, False)

    def losses(normalize: Any) -> Tensor:
        found = fcos_ops.fcos_loss(
            *problem.heads, *problem.truth, levels=problem.levels, normalize=normalize
        )
        return torch.stack(found[:LOSSES])

    least = losses(lambda c: c * 0 + torch.tensor([1, 1e-6]))
    assert torch.equal(losses(lambda c: c * 0), least)
    assert torch.allclose(least, losses(torch.ones_like) * torch.tensor([1, 1e6, 1]))
    assert losses(lambda c: c * math.nan).isnan().all()


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
@pytest.mark.parametrize(
    "result, error",
    [(lambda c: c[0], ValueError), (lambda c: 3.0, TypeError), (lambda c: c.long(), TypeError)],
)
def test_bad_normalize(result: Any, error: type[Exception], backend: str) -> None:
    problem = make_problem()
    with fcos_ops.backend(backend), pytest.raises(error, match="the result of normalize"):
        fcos_ops.fcos_loss(*problem.heads, *problem.truth, levels=problem.levels, normalize=result)


def test_mean_over_processes_without_processes() -> None:
    counts = torch.tensor([5.0, 2.0])
    assert fcos_ops.mean_over_processes(counts) is counts


def _mean_in_one_of_two(rank: int, store: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2
    )
    counts = torch.tensor([1.0 + 2 * rank, 4.0])
    mean = fcos_ops.mean_over_processes(counts)
    torch.distributed.destroy_process_group()
    assert mean.tolist() == [2.0, 4.0] and counts.tolist() == [1.0 + 2 * rank, 4.0]


def test_mean_over_processes(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_mean_in_one_of_two, (str(tmp_path / "store"),), nprocs=2)


# --------------------------------------------------------------------------------------- autograd


def gradients_of(problem: Problem, loss: Tensor, **options: Any) -> list[Tensor]:
    leaves = [t for head in problem.heads for t in head if t.requires_grad]
    return [g for g in torch.autograd.grad(loss, leaves, allow_unused=True, **options)]


def losses_of(problem: Problem, **options: Any) -> Any:
    return fcos_ops.fcos_loss(*problem.heads, *problem.truth, levels=problem.levels, **options)


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


@pytest.mark.every_device
@pytest.mark.parametrize("as_tensor", [False, True])
def test_expected_scale(as_tensor: bool) -> None:
    """Half gradients far below half's range survive, and unmet expectations change nothing."""
    problem = make_problem()
    scale = 2.0**16
    value: Any = torch.tensor([scale]) if as_tensor else scale
    enlarge = lambda c: c * 64  # noqa: E731 - as many positives as a large batch has
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        assert_matches_reference(
            problem, dtype, scale=scale, expected_scale=value, normalize=enlarge
        )
    exact = to(problem, torch.float32)
    weights = (scale, scale, scale)
    _, expected = run(fcos_ops.fcos_loss, exact, weights)
    for kept in (False, True):
        met = to(problem, torch.float32)
        total = sum(losses_of(met, expected_scale=value)[:LOSSES]) * scale
        total.backward(retain_graph=kept)
        for head, tensor in zip(met.heads, expected, strict=True):
            joined = torch.cat([t.grad.permute(0, 2, 3, 1).flatten(1, 2) for t in head], 1)
            assert_near(joined, tensor, torch.float32)


@pytest.mark.every_device
def test_met_expectation_leaves_the_gradient_alone() -> None:
    """The stored gradient is handed over as it is: not one bit of rounding is added."""
    problem = to(make_problem(), torch.float32)
    factor = 3.0
    loss = losses_of(problem, expected_scale=factor)
    gradients = gradients_of(problem, factor * sum(loss[:LOSSES]))
    arguments = op_arguments(problem, (True, True, True), factor=factor)
    assert all(torch.equal(a, b) for a, b in zip(gradients, _OP.kernel(*arguments)[3], strict=True))


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_are_scaled_in_place(dtype: torch.dtype) -> None:
    """Every layout and address, several levels and heads at once; a head may be left alone."""
    real = torch.float64 if dtype == torch.float64 else torch.float32
    shapes = [(2, 5, 13, 77), (2, 5, 3, 1), (2, 5, 0, 4)]

    def gradients(changed: Callable[[Tensor], Tensor]) -> list[Tensor]:
        return [changed(torch.randn(shape).to(dtype)) for shape in shapes]

    layouts: list[Callable[[Tensor], Tensor]] = [
        lambda x: x,
        lambda x: x.to(memory_format=torch.channels_last),
        lambda x: x.transpose(0, 3).contiguous().transpose(0, 3),
        lambda x: torch.cat([x, x], 3)[..., ::2],
        lambda x: torch.cat([x, x], 0)[:2],
        lambda x: torch.cat([x, x], 2)[:, :, : x.shape[2]],
        lambda x: x.new_zeros(x.numel() + 3)[3:].view(x.shape).copy_(x),
    ]
    for changed in layouts:
        heads: list[list[Tensor]] = [gradients(changed), [], gradients(changed)]
        factors = [torch.tensor(3.0, dtype=real), None, torch.tensor(2.0, dtype=real)]
        whole = [[x._base if x._base is not None else x for x in head] for head in heads]
        before = [[x.clone() for x in head] for head in whole]
        scaled = [[x.clone() for x in head] for head in heads]
        for head, factor in zip(scaled, (0.75, 1, 0.5), strict=True):
            for x in head:
                x.mul_(factor)
        views: list[Any] = []
        for head, factor in zip(heads, factors, strict=True):
            code = _native.DTYPE_CODES[dtype]
            views += (_views.level_views(head), 5 if head else 0, code if head else 0, factor)
        expected = torch.tensor(2.0, dtype=real)
        _native.call("fcos_scale_gradients", heads[0][0], *views, 2, 2.0, expected)
        for head, wanted in zip(heads, scaled, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(head, wanted, strict=True))
        for head, old, base in zip(heads, before, whole, strict=True):
            for x, o, b in zip(head, old, base, strict=True):  # nothing else was touched
                mask = torch.ones_like(b, dtype=torch.bool)
                mask.as_strided(x.shape, x.stride(), x.storage_offset()).fill_(False)
                assert torch.equal(b[mask], o[mask])


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_number_of_launches(dtype: torch.dtype, device: str) -> None:
    """Assignment takes two, the losses two, the backward pass one."""
    if device == "simt":
        problem = to(make_problem(), dtype)
        counts = [devices.simt_launches()]
        total = sum(losses_of(problem)[:LOSSES])
        counts.append(devices.simt_launches())
        total.backward()
        counts.append(devices.simt_launches())
        assert [b - a for a, b in itertools.pairwise(counts)] == [4, 1]


def op_arguments(
    problem: Problem, store: Sequence[bool], factor: float = 1.0, expected: Tensor | None = None
) -> tuple[Any, ...]:
    boxes, labels, _ = problem.truth
    grids = [n for level in problem.levels for n in level[:4]]
    lengths = [n for level in problem.levels for n in level[4:]]
    targets = reference.assign_targets(problem.levels, *problem.truth)
    heads = [t for head in problem.heads for t in head]
    counts = torch.stack([targets.num_pos.to(torch.float32), targets.centerness_sum])
    rule = (0.5, True, *LOSS_RULES["improved"])
    inputs = (heads, targets.matched.int(), boxes, labels, counts, expected)
    return (*inputs, grids, lengths, *rule, factor, list(store))


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


OPCHECK_CASES = [
    (torch.float32, torch.contiguous_format, (True, True, True)),
    (torch.bfloat16, torch.channels_last, (True, True, False)),
    (torch.float16, torch.contiguous_format, (False, False, False)),
]


@pytest.mark.parametrize("case", OPCHECK_CASES, ids=str)
def test_opcheck(case: Any) -> None:
    dtype, layout, store = case
    problem = to(make_problem(3, (2, 1), ((3, 4), (2, 2)), layout=layout), dtype)
    if dtype == torch.bfloat16:
        for tensor in problem.heads[2]:
            tensor.requires_grad_(False)
    torch.library.opcheck(torch.ops.fcos_ops.fcos_loss.default, op_arguments(problem, store))


def test_opcheck_of_matching() -> None:
    problem = make_problem()
    grids = [n for level in problem.levels for n in level[:4]]
    lengths = [n for level in problem.levels for n in level[4:]]
    arguments = (*problem.truth, grids, lengths, *fcos_ops.ASSIGNMENT_RULES["improved"][:7])
    torch.library.opcheck(torch.ops.fcos_ops.match_locations.default, arguments)


class Loss(torch.nn.Module):
    def __init__(self, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.strides = strides

    def forward(
        self,
        cls_logits: list[Tensor],
        ltrb: list[Tensor],
        centerness: list[Tensor],
        boxes: Tensor,
        labels: Tensor,
        offsets: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        levels = [
            Level(t.shape[2], t.shape[3], s, s, float(s), 0.0, 1e8)
            for t, s in zip(cls_logits, self.strides, strict=True)
        ]
        found = fcos_ops.fcos_loss(
            [2 * t for t in cls_logits],
            [t.exp() for t in ltrb],
            centerness,
            boxes,
            labels,
            offsets,
            levels=levels,
            normalize=lambda counts: counts + 1,
        )
        return found[0], found[1] * 2, found[2]


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
@LAYOUTS
def test_compile(backend: str, layout: torch.memory_format) -> None:
    eager = Loss((8, 16))
    with fcos_ops.backend(backend):
        torch.compiler.reset()
        compiled = torch.compile(eager, fullgraph=True, dynamic=True)
        for sizes, per_image in ((((5, 6), (3, 4)), (2, 1)), (((7, 9), (4, 5)), (3, 0))):
            problem = to(make_problem(4, per_image, sizes, layout=layout), torch.float32)
            leaves = [t for head in problem.heads for t in head]
            results = []
            for function in (eager, compiled):
                losses = function(*problem.heads, *problem.truth)
                results.append([*losses, *torch.autograd.grad(sum(losses), leaves)])
            for a, b in zip(*results, strict=True):
                assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
def test_export(backend: str) -> None:
    problem = to(make_problem(4, (2, 1), ((5, 6), (3, 4))), torch.float32, False)
    with fcos_ops.backend(backend):
        arguments = (*problem.heads, *problem.truth)
        program = torch.export.export(Loss((8, 16)), arguments)
        actual, expected = program.module()(*arguments), Loss((8, 16))(*arguments)
    assert all(torch.allclose(a, b) for a, b in zip(actual, expected, strict=True))


def test_under_autocast() -> None:
    problem = to(make_problem(8, layout=torch.channels_last), torch.float32)
    layer = torch.nn.Conv2d(8, 8, 1)
    with torch.autocast("cpu", torch.bfloat16):
        heads = ([layer(t) for t in problem.heads[0]], *problem.heads[1:])
        losses = losses_of(problem._replace(heads=heads))
    assert losses.classification.dtype == torch.float32
    losses.classification.backward()
    assert layer.weight.grad is not None and layer.weight.grad.isfinite().all()


# -------------------------------------------------------------------------------------- bad input

GOOD = make_problem(3, (1,), ((3, 4), (2, 2)))
(X, Y), D, C = GOOD.heads
BOXES, LABELS, OFFSETS = GOOD.truth
LEVELS = GOOD.levels
BAD_INPUT = [
    ({"cls_logits": [X]}, ValueError, "cls_logits must hold one tensor"),
    ({"ltrb": D[:1]}, ValueError, "ltrb must hold one tensor"),
    ({"levels": []}, ValueError, "cls_logits must hold one tensor"),
    ({"levels": [LEVELS[0], (2, 2)]}, TypeError, r"levels\[1\] must be a Level"),
    ({"cls_logits": [1.0, Y]}, TypeError, r"cls_logits\[0\] must be a torch.Tensor"),
    ({"cls_logits": [X.int(), Y]}, TypeError, r"cls_logits\[0\] must have dtype"),
    ({"cls_logits": [X[0], Y]}, ValueError, r"cls_logits\[0\] must have shape"),
    ({"cls_logits": [X, Y.float()]}, TypeError, r"cls_logits\[1\] must have dtype"),
    ({"cls_logits": [X, Y[:, :2]]}, ValueError, r"cls_logits\[1\] must have shape"),
    ({"ltrb": [D[0][:, :3], D[1]]}, ValueError, r"ltrb\[0\] must have shape"),
    ({"ltrb": [D[0], D[1].to("meta")]}, ValueError, r"ltrb\[1\] must be on the device"),
    ({"centerness": [C[0], D[1]]}, ValueError, r"centerness\[1\] must have shape"),
    ({"boxes": BOXES[:, :3]}, ValueError, "boxes must have shape"),
    ({"boxes": BOXES.clone().requires_grad_()}, ValueError, "boxes is not differentiable"),
    ({"boxes": BOXES.to("meta")}, ValueError, "must be on the device"),
    ({"labels": LABELS.float()}, TypeError, "labels must have dtype"),
    ({"labels": LABELS[:0]}, ValueError, "labels must have shape"),
    ({"offsets": torch.tensor([0, 1, 1])}, ValueError, "offsets must have shape"),
    ({"offsets": torch.tensor([0, 2])}, ValueError, "offsets must rise"),
    ({"rule": "fcos"}, ValueError, "rule: unknown preset"),
    ({"loss": "fcos"}, ValueError, "loss: unknown preset"),
    ({"loss": ("giou", "uniform")}, TypeError, "loss: expected a preset name or a LossRule"),
    ({"loss": LossRule(box_loss="siou")}, ValueError, "loss.box_loss"),
    ({"loss": LossRule(box_weight="iou")}, ValueError, "loss.box_weight"),
    ({"loss": LossRule(normalizer="moving")}, ValueError, "loss.normalizer"),
    ({"loss": LossRule(alpha=2.0)}, ValueError, "loss.alpha"),
    ({"loss": LossRule(gamma=-1.0)}, ValueError, "loss.gamma"),
    ({"loss": LossRule(gamma=math.inf)}, ValueError, "loss.gamma"),
    ({"loss": LossRule(eps=0.0)}, ValueError, "loss.eps"),
    ({"expected_scale": 0.0}, ValueError, "expected_scale"),
    ({"expected_scale": "2"}, TypeError, "expected_scale"),
    ({"expected_scale": torch.ones(2)}, ValueError, "expected_scale must hold one number"),
    ({"expected_scale": torch.tensor(2)}, TypeError, "expected_scale must have dtype"),
]


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
@pytest.mark.parametrize("changes, error, message", BAD_INPUT)
def test_bad_input(changes: Any, error: type[Exception], message: str, backend: str) -> None:
    good = {
        "cls_logits": [X, Y],
        "ltrb": D,
        "centerness": C,
        "boxes": BOXES,
        "labels": LABELS,
        "offsets": OFFSETS,
        "levels": LEVELS,
    }
    with fcos_ops.backend(backend), pytest.raises(error, match=message):
        fcos_ops.fcos_loss(**{**good, **changes})


@pytest.mark.every_device
@LAYOUTS
@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0, 3e38])
def test_infinite_logits(gamma: float, layout: torch.memory_format) -> None:
    """Background costs nothing at -inf; at inf, unfocused, infinity at slope 1."""
    problem = make_problem(8, (0, 0), SIZES[2:4], layout=layout)
    rule = LossRule(alpha=-1.0, gamma=gamma)
    for sign in (-1.0, 1.0) if gamma == 0 else (-1.0,):
        logits = [torch.full_like(t, sign * math.inf) for t in problem.heads[0]]
        changed = to(problem._replace(heads=(logits, *problem.heads[1:])), torch.float32)
        losses, gradients = run(fcos_ops.fcos_loss, changed, loss=rule)
        assert losses.classification == (0 if sign < 0 else math.inf)
        assert (gradients[0] == (sign > 0)).all()


def test_gradients_of_mixed_maths_are_not_scaled() -> None:
    views: list[Any] = []
    for dtype in (torch.float32, torch.float64, torch.float32):
        gradient = torch.ones(1, 1, 2, 2, dtype=dtype)
        scale = torch.tensor(2.0, dtype=dtype)
        views += (_views.level_views([gradient]), 1, _native.DTYPE_CODES[dtype], scale)
    with pytest.raises(RuntimeError, match="all gradients or none"):
        _native.call("fcos_scale_gradients", gradient, *views, 1, 1.0, None)
