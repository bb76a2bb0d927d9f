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


class Detect(nn.Module):
    """Inference as tensors in, tensors out."""

    def __init__(self, model: FCOS) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model.detect(ImageBatch(images, sizes)))


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
    """Compiled convolutions round differently, so near ties may change places."""
    boxes, scores, labels, count = one
    assert int(count.sum()) > 20
    assert torch.equal(count, other[3]) and torch.equal(labels, other[2])
    torch.testing.assert_close(scores, other[1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(boxes, other[0], rtol=1e-4, atol=1e-3)


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
    compiled = torch.compile(detect, fullgraph=True, dynamic=True, backend="eager")
    with torch.no_grad():
        for count, size in ((2, SIZES[0]), (3, SIZES[1])):
            inputs = images(count, size)
            assert_detects_alike(compiled(*inputs), detect(*inputs))


@pytest.mark.parametrize("preset", ["improved", "detectron2"])
def test_compile_of_a_training_step(preset: str) -> None:
    """Network, assignment and losses in one graph, for any number of boxes; gradients agree."""
    boxes = torch.tensor([[4.0, 6, 90, 120], [30, 8, 188, 160], [90, 70, 130, 110]])

    def losses(model: FCOS, images: Tensor, sizes: Tensor, truth: GroundTruth) -> Tensor:
        found = model(ImageBatch(images, sizes), truth)
        assert isinstance(found, dict)
        return torch.stack(list(found.values()))

    compiled = torch.compile(losses, fullgraph=True, dynamic=True, backend="eager")
    for count, size in ((3, SIZES[0]), (2, SIZES[1])):
        truth = GroundTruth(boxes[:count], torch.arange(count), torch.tensor([0, 1, count]))
        gradients = []
        for function in (losses, compiled):
            model = small_model(preset=preset).train()
            values = function(model, *images(2, size), truth)
            values.sum().backward()
            gradients.append((values.detach(), [p.grad for p in model.parameters()]))
        (ours, by_weights), (theirs, their_by_weights) = gradients
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
        for one, other in zip(by_weights, their_by_weights, strict=True):
            assert one is not None and other is not None
            assert (one - other).norm() <= 1e-4 * other.norm() + 1e-7
