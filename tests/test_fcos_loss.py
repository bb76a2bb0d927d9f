"""fcos_loss against the reference ops in float64: every rule, sizes of all kinds, odd values."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops
from fcos_ops import LOSS_RULES, Level, LossRule, reference
from fcos_ops._fcos_loss_op import LOSS_OP
from tests.common import DTYPES
from tests.inputs.fcos_loss import (
    BOX_KINDS,
    LAYOUTS,
    LOSSES,
    SIZES,
    Problem,
    assert_matches_reference,
    make_problem,
    op_arguments,
    run,
    to,
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
            matched = reference.assign_targets(problem.levels, *problem.truth).matched
            box = matched[matched >= 0].min()  # one that some location matches
            changed = torch.where(torch.arange(len(labels)) == box, bad, labels)
            wrong = to(problem._replace(heads=heads), torch.float32)
            wrong = wrong._replace(truth=(boxes, changed, offsets))
            losses, gradients = run(fcos_ops.fcos_loss, wrong)
            of_box = matched == box
            assert losses.classification.isnan()
            assert torch.equal(gradients[0].isnan().all(-1), of_box)
            assert torch.equal(gradients[0].isnan().any(-1), of_box)


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
        losses_and_gradients = LOSS_OP.kernel(heads, changed, *rest)
        results.append([*losses_and_gradients[:3], *losses_and_gradients[3]])
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


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
@pytest.mark.parametrize(
    "images, classes, layout",
    [(840, 8, torch.channels_last), (42, 80, torch.contiguous_format)],
    ids=["rows", "planes"],
)
def test_more_tiles_of_classes_than_blocks(
    images: int, classes: int, layout: torch.memory_format
) -> None:
    """On a GPU a tile belongs to one level of one image, and 4096 blocks share all tiles: some take
    two, of images with normalizers of their own."""
    problem = make_problem(classes, (1, 0) * (images // 2), ((1, 2),) * 5, layout=layout)
    assert_matches_reference(problem, loss=LossRule(normalizer="per_image"))


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
