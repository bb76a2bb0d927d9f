"""Where the reference runs: the public functions call it, the ops of torch's library never do."""

import pytest
import torch

import fcos_ops
from fcos_ops import _native
from tests.inputs.every_op import EVERY_OP


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "_C", None)


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize("name", EVERY_OP)
def test_no_public_function_calls_the_native_library(name: str) -> None:
    op = EVERY_OP[name]
    with fcos_ops.backend("reference"):
        results = op.run(
            *[t.requires_grad_(i < op.differentiable) for i, t in enumerate(op.make(4))]
        )
        total = sum(result.sum() for result in results if result.requires_grad)
        assert isinstance(total, torch.Tensor) == bool(op.differentiable)
        if isinstance(total, torch.Tensor):
            total.backward()


@pytest.mark.usefixtures("without_library")
def test_the_ops_of_a_graph_are_native_whatever_the_backend() -> None:
    ops = torch.ops.fcos_ops
    boxes, scores = torch.rand(3, 4), torch.rand(3)
    with fcos_ops.backend("reference"):
        for call in (
            lambda: ops.nms(boxes, scores, None, 0.5),
            lambda: ops.centerness_target(boxes),
        ):
            with pytest.raises(RuntimeError, match="cannot run: the native library"):
                call()
        assert ops.nms_reference(boxes, scores, None, 0.5).dtype == torch.int64
