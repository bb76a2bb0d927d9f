"""postprocess as a citizen of torch: no derivative, opcheck, torch.compile, torch.export."""

from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops
from fcos_ops import POSTPROCESS_RULES
from fcos_ops._flat_levels import flatten_levels
from fcos_ops.results import Detections
from tests.inputs.postprocess import (
    SIZES,
    assert_equal,
    detect,
    image_sizes,
    levels_of,
    make_heads,
    to,
)


def test_is_not_differentiable() -> None:
    heads = make_heads(1, 3)
    for head in heads:
        for tensor in head:
            tensor.requires_grad_()
    found = detect(heads, "improved")
    assert not found.boxes.requires_grad and not found.scores.requires_grad
    rule = POSTPROCESS_RULES["improved"]
    geometry = *flatten_levels(levels_of(heads)), True, 0.5
    found = torch.ops.fcos_ops.postprocess(*heads, image_sizes(heads), None, None, *geometry, *rule)
    assert not found[0].requires_grad and not found[1].requires_grad


@pytest.mark.parametrize("resized", [True, False])
@pytest.mark.parametrize("suffix", ["", "_reference"])
def test_opcheck(suffix: str, resized: bool) -> None:
    heads = to(make_heads(2, 7, SIZES[2:]), torch.float32)
    for tensor in heads[0]:
        tensor.requires_grad_()
    geometry = *flatten_levels(levels_of(heads)), True, 0.5
    sizes, rule = image_sizes(heads), POSTPROCESS_RULES["detectron2"]
    if resized:
        rule = rule._replace(max_detections_per_class=3)
    optional = (sizes * 2, torch.arange(7) != 2) if resized else (None, None)
    arguments = (*heads, sizes, *optional, *geometry, *rule)
    op = getattr(torch.ops.fcos_ops, f"postprocess{suffix}").default
    torch.library.opcheck(op, arguments)


class Detect(torch.nn.Module):
    """With strides that follow from the sizes, as torchvision's."""

    def forward(
        self, cls_logits: list[Tensor], ltrb: list[Tensor], centerness: list[Tensor], sizes: Tensor
    ) -> Detections:
        levels = fcos_ops.pyramid_levels(
            [t.shape[2:] for t in cls_logits],
            image_size=(cls_logits[0].shape[2] * 8, cls_logits[0].shape[3] * 8),
            rule="torchvision",
        )
        cls_logits = [t + 1 for t in cls_logits]
        found = fcos_ops.postprocess(
            cls_logits, ltrb, centerness, sizes, levels=levels, rule="torchvision"
        )
        return found._replace(boxes=found.boxes * 2)


def pyramid(height: int, width: int) -> list[tuple[int, int]]:
    return [(-(-height // 2**i), -(-width // 2**i)) for i in range(5)]


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
def test_compile_and_export(backend: str) -> None:
    eager = Detect()

    def inputs(batch: int, height: int, width: int) -> Any:
        heads = to(make_heads(batch, 6, pyramid(height, width)), torch.float32)
        return (*heads, image_sizes(heads))

    with fcos_ops.backend(backend):
        compiled = torch.compile(eager, fullgraph=True, dynamic=True)
        for shape in ((2, 40, 48), (3, 33, 70)):
            arguments = inputs(*shape)
            assert_equal(compiled(*arguments), eager(*arguments))
        dynamic = {0: torch.export.Dim.DYNAMIC}
        head = [{**dynamic, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}] * 5
        shapes = (head, head, head, dynamic)
        program = torch.export.export(eager, inputs(2, 40, 48), dynamic_shapes=shapes)
        for shape in ((3, 33, 70), (4, 64, 64)):
            arguments = inputs(*shape)
            assert_equal(program.module()(*arguments), eager(*arguments))
