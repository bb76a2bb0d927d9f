"""assign_targets as a citizen of torch: opcheck, compile, export."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops
from fcos_ops import ASSIGNMENT_RULES, Targets, pyramid_levels
from tests.inputs.assign_targets import INF, assert_same, levels_of, make_problem


@pytest.mark.parametrize("suffix", ["", "_reference"])
@pytest.mark.parametrize("rule", ["improved", "torchvision"])
def test_opcheck(rule: str, suffix: str) -> None:
    sizes_and_strides, scales_and_ranges = (
        [6, 9, 8, 8, 3, 5, 16, 16],
        [8.0, -1.0, 64.0, 16.0, 64.0, INF],
    )
    boxes, labels, offsets = make_problem([9, 0, 11])
    arguments = (
        boxes,
        labels,
        offsets,
        sizes_and_strides,
        scales_and_ranges,
        *ASSIGNMENT_RULES[rule][:7],
    )
    op = getattr(torch.ops.fcos_ops, f"assign_targets{suffix}").default
    torch.library.opcheck(op, arguments)


class Assign(torch.nn.Module):
    """As a training step does it: the pyramid follows from the shapes of the features."""

    def __init__(self, rule: str) -> None:
        super().__init__()
        self.rule = rule

    def forward(self, image: Tensor, features: list[Tensor], *problem: Tensor) -> Targets:
        levels = pyramid_levels(
            [feature.shape[-2:] for feature in features],
            strides=(8, 16),
            image_size=image.shape[-2:],
            rule=ASSIGNMENT_RULES[self.rule]._replace(ranges=((0, 64), (64, INF))),
        )
        boxes, labels, offsets = problem
        targets = fcos_ops.assign_targets(levels, boxes * 1, labels, offsets, rule=self.rule)
        return targets._replace(num_pos=targets.num_pos + 1)


def assign_inputs(height: int, width: int, count: int) -> tuple[Tensor, list[Tensor], Any]:
    features = [torch.zeros(2, 3, math.ceil(height / s), math.ceil(width / s)) for s in (8, 16)]
    return torch.zeros(2, 3, height, width), features, make_problem([count, 3], (height, width))


@pytest.mark.parametrize(
    "backend, rule, compiler",
    [
        ("native", "improved", "inductor"),
        ("native", "torchvision", "aot_eager"),
        ("reference", "torchvision", "aot_eager"),
    ],
)
def test_compile_with_dynamic_shapes(backend: str, rule: str, compiler: str) -> None:
    eager = Assign(rule)
    with fcos_ops.backend(backend):
        compiled = torch.compile(eager, fullgraph=True, dynamic=True, backend=compiler)
        for height, width, count in ((96, 128, 9), (104, 200, 5), (152, 152, 17)):
            image, features, problem = assign_inputs(height, width, count)
            assert_same(compiled(image, features, *problem), eager(image, features, *problem))


@pytest.mark.parametrize("rule", ["improved", "torchvision"])
@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
def test_export_with_dynamic_shapes(backend: str, rule: str) -> None:
    dynamic, eager = torch.export.Dim.DYNAMIC, Assign(rule)
    spatial, rows = {2: dynamic, 3: dynamic}, {0: dynamic}
    image, features, problem = assign_inputs(96, 128, 9)
    with fcos_ops.backend(backend):
        program = torch.export.export(
            eager,
            (image, features, *problem),
            dynamic_shapes=(spatial, [spatial, spatial], (rows, rows, None)),
        )
        image, features, problem = assign_inputs(104, 200, 5)
        actual = Targets(*program.module()(image, features, *problem))
        assert_same(actual, eager(image, features, *problem))


def test_boxes_that_come_from_a_graph_are_fine_where_no_gradient_is_asked_for() -> None:
    boxes, labels, offsets = make_problem([5])
    with torch.no_grad():
        fcos_ops.assign_targets(levels_of("paper"), boxes.requires_grad_(), labels, offsets)
