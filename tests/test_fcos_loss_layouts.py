"""fcos_loss on heads and boxes of any layout, address and dtype."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops
from fcos_ops import reference
from fcos_ops._fcos_loss_op import LOSS_OP, _group_by_head, _run
from tests.common import assert_near
from tests.inputs.fcos_loss import LAYOUTS, make_problem, op_arguments, run, to


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
@LAYOUTS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_heads_at_any_address(dtype: torch.dtype, layout: torch.memory_format, device: str) -> None:
    """A map, and its gradient where the C++ function is told to, may start anywhere in memory."""
    problem = to(make_problem(layout=layout), dtype, False)
    everything = (True, True, True)
    *losses, gradients = LOSS_OP.kernel(*op_arguments(problem, everything))
    for shift in (1, 2, 7):

        def moved(tensor: Tensor, shift: int = shift) -> Tensor:
            storage = tensor.new_full((tensor.numel() + 2 * shift,), math.inf)
            return storage.as_strided(tensor.shape, tensor.stride(), shift).copy_(tensor)

        heads = tuple([moved(t) for t in head] for head in problem.heads)
        heads, *inputs = op_arguments(problem._replace(heads=heads), everything)
        found = [torch.full_like(loss, math.nan) for loss in losses]
        slopes = [moved(torch.full_like(head, math.nan)) for head in heads]
        inputs, options = inputs[:5], inputs[5:-3]
        by_head = _group_by_head(slopes, everything)
        _run(heads, inputs, (None, None, None), found, by_head, options)
        for a, b in zip([*found, *slopes], [*losses, *gradients], strict=True):
            if device == "cpu":
                assert torch.equal(a, b)
            else:  # aligned vectors have a formula of their own
                assert_near(a, b, a.dtype)
        for slope in slopes:
            around = slope._base
            assert torch.cat([around[:shift], around[-shift:]]).isinf().all()


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
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        coarse = boxes.to(dtype)
        results = []
        for truth in ((coarse, labels.int(), offsets.int()), (coarse.float(), labels, offsets)):
            losses, gradients = run(
                fcos_ops.fcos_loss, to(problem, torch.float32)._replace(truth=truth)
            )
            assert losses.num_pos > 0
            results.append([*[loss.detach() for loss in losses], *gradients])
        for a, b in zip(*results, strict=True):
            if dtype == torch.float64:  # targets of float64 boxes are computed in float64
                assert_near(a, b, torch.float32)
            else:
                assert torch.equal(a, b)
