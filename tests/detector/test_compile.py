"""The detector under torch.compile and torch.export, post-processing and losses included."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fcos.models import FCOS
from fcos.structures import GroundTruth, ImageBatch
from torch import Tensor, nn

from .helpers import small_model

SIZES = [(160, 288), (320, 192)]
# Images and boxes of the first call: torch.compile takes sizes that are equal there for one size.
BATCH, BOXES = 5, 7


class Detect(nn.Module):
    """Inference as tensors in, tensors out, from an image of half the size."""

    def __init__(self, model: FCOS) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model.detect(ImageBatch(images, sizes), original_sizes=sizes // 2))


@pytest.fixture
def detect() -> Detect:
    model = small_model().eval()
    nn.init.constant_(model.head.classification_head.cls_logits.bias, -1.0)
    return Detect(model)


def images(batch: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(batch)
    height, width = size
    sizes = torch.tensor([[height - 9 * i, width - 5 * i] for i in range(batch)])
    return torch.randn(batch, 3, height, width, generator=generator), sizes


def assert_detects_alike(one: Any, other: Any) -> None:
    """Bit by bit: what is traced is the same operations, not other code for them."""
    assert int(one[3].sum()) > 20
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_export_with_post_processing(detect: Detect) -> None:
    """Any batch and any size of image, in one graph."""
    batch = torch.export.Dim("batch", max=64)
    # Below 5 the coarsest map has one row, whose strides torch.export would take for a constant.
    height, width = (32 * torch.export.Dim(name, min=5, max=64) for name in ("rows", "columns"))
    with torch.no_grad():
        exported = torch.export.export(
            detect,
            images(2, SIZES[0]),
            dynamic_shapes=({0: batch, 2: height, 3: width}, {0: batch}),
        )
        targets = [str(node.target) for node in exported.graph.nodes]
        assert targets.count("fcos_ops.postprocess.default") == 1
        for count, size in ((3, SIZES[0]), (1, SIZES[1])):
            inputs = images(count, size)
            assert_detects_alike(exported.module()(*inputs), detect(*inputs))


def test_compile_of_inference(detect: Detect) -> None:
    torch.compiler.reset()
    compiled = torch.compile(detect, fullgraph=True, dynamic=True, backend="eager")
    with torch.no_grad():
        assert_detects_alike(compiled(*images(BATCH, SIZES[0])), detect(*images(BATCH, SIZES[0])))
        with torch.compiler.set_stance("fail_on_recompile"):
            found = compiled(*images(2, SIZES[1]))
        assert_detects_alike(found, detect(*images(2, SIZES[1])))


@pytest.mark.parametrize("preset", ["improved", "detectron2"])
def test_compile_of_a_training_step(preset: str) -> None:
    """Network, assignment and losses in one graph, which serves any size and number of boxes."""
    torch.compiler.reset()
    boxes = torch.tensor([[4.0, 6, 90, 120]]) + 9 * torch.arange(BOXES)[:, None]

    def losses(model: FCOS, images: Tensor, sizes: Tensor, truth: GroundTruth) -> Tensor:
        found = model(ImageBatch(images, sizes), truth)
        assert isinstance(found, dict)
        return torch.stack(list(found.values()))

    compiled = torch.compile(losses, fullgraph=True, dynamic=True, backend="eager")
    model, same = small_model(preset=preset).train(), small_model(preset=preset).train()

    def check(batch: int, count: int, size: tuple[int, int]) -> None:
        offsets = torch.tensor([0, 1] + (batch - 1) * [count])
        truth = GroundTruth(boxes[:count].clone(), torch.arange(count) % 3, offsets)
        found = compiled(model, *images(batch, size), truth)
        expected = losses(same, *images(batch, size), truth)
        assert torch.equal(found, expected)
        gradients = torch.autograd.grad(found.sum(), list(model.parameters()))
        for one, other in zip(
            gradients, torch.autograd.grad(expected.sum(), list(same.parameters())), strict=True
        ):
            assert torch.equal(one, other)

    check(BATCH, BOXES, SIZES[0])
    with torch.compiler.set_stance("fail_on_recompile"):
        check(2, 2, SIZES[1])
