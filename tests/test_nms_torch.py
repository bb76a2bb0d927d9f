"""nms, batched_nms and nms_padded as citizens of torch: opcheck, gradients, compile, export."""

from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops
from tests.inputs.nms import OPTIONS, batch, identical, uniform

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("suffix", ["", "_reference"])
def test_opcheck(suffix: str) -> None:
    boxes, scores, classes, offsets = batch([30, 0, 12])
    nms = getattr(torch.ops.fcos_ops, f"nms{suffix}").default
    nms_padded = getattr(torch.ops.fcos_ops, f"nms_padded{suffix}").default
    for ids in (None, classes):
        torch.library.opcheck(nms, (boxes, scores, ids, 0.5))
        arguments = (boxes, scores.double(), ids, offsets.int(), 0.5, None, 7)
        torch.library.opcheck(nms_padded, arguments)


def test_inputs_that_require_gradients() -> None:
    boxes, scores = uniform(9).requires_grad_(), torch.rand(9, requires_grad=True)
    assert not fcos_ops.nms(boxes, scores, 0.5).requires_grad
    keep = torch.ops.fcos_ops.nms(boxes, scores, None, 0.5)
    scores[keep].sum().backward()
    assert scores.grad is not None and scores.grad.sum() == len(keep)


def test_the_result_owns_its_memory_only() -> None:
    keep = fcos_ops.nms(identical(1000), torch.rand(1000), 0.5)
    assert keep.untyped_storage().nbytes() == 8


class Suppress(torch.nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor, classes: Tensor, offsets: Tensor) -> Any:
        boxes = boxes * 2
        keep = fcos_ops.nms_padded(boxes, scores, classes, offsets, **OPTIONS)
        alone = fcos_ops.nms(boxes, scores, 0.5)
        by_class = fcos_ops.batched_nms(boxes, scores, classes, 0.5)
        return *keep, scores[alone], boxes[by_class] + 1


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
def test_compile_and_export(backend: str) -> None:
    eager = Suppress()
    batches = [batch([30, 5]), batch([11, 0, 50])]
    with fcos_ops.backend(backend):
        compiled = torch.compile(eager, fullgraph=True, dynamic=True)
        dim = torch.export.Dim
        rows = {0: dim("rows", min=2)}
        shapes = (rows, rows, rows, {0: dim("bounds", min=3)})
        program = torch.export.export(eager, batches[0], dynamic_shapes=shapes).module()
        for arguments in batches:
            expected = eager(*arguments)
            for actual in (compiled(*arguments), program(*arguments)):
                for a, e in zip(actual, expected, strict=True):
                    assert torch.equal(a, e)
