"""iou_loss of boxes of any strides, anywhere in memory."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fcos_ops
from tests.inputs.iou_loss import assert_matches_reference, make_pairs
from tests.test_memory import allocated_bytes


@pytest.mark.every_device
@pytest.mark.parametrize("count", [1, 127, 129, 1000])
def test_boxes_that_are_not_aligned(count: int) -> None:
    for offset in (1, 2, 4):
        pair = []
        for boxes in make_pairs((count,), "xyxy"):
            line = torch.cat([torch.zeros(offset), boxes.float().flatten()])
            pair.append(line[offset:].reshape(count, 4))
        assert_matches_reference(*pair)


@pytest.mark.parametrize(
    "strided",
    [
        lambda x: x.permute(0, 2, 3, 1).contiguous(),
        lambda x: x.permute(0, 2, 3, 1),
        lambda x: x.permute(0, 2, 3, 1).contiguous()[:, ::2, 3:],
        lambda x: x.permute(0, 2, 3, 1).contiguous().flip(0).transpose(0, 2),
        lambda x: x[:1].permute(0, 2, 3, 1).expand(3, -1, -1, -1),
        lambda x: x.permute(3, 2, 0, 1)[..., None, :].expand(-1, -1, -1, 2, -1).transpose(0, 1),
        lambda x: x.permute(0, 2, 3, 1).reshape(-1, 4)[5, :],
        lambda x: x.permute(0, 2, 3, 1).reshape(-1, 4)[::2],
    ],
    ids=["rows", "nchw", "slice", "transpose", "expand", "5d", "one", "every_second"],
)
def test_strides(strided: Callable[[Tensor], Tensor]) -> None:
    pred, target = make_pairs((2, 5, 260), "ltrb")
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        p, t = (strided(x.permute(0, 3, 1, 2).contiguous().to(dtype)) for x in (pred, target))
        for pair in ((p, t), (p.contiguous(), t), (p, t.contiguous())):
            for reduction in ("sum", "none"):
                assert_matches_reference(*pair, box_format="ltrb", reduction=reduction)


def test_head_outputs_are_read_in_place() -> None:
    """ltrb [B, 4, H, W] as the head gives it costs its gradient and no copy."""
    output = torch.rand(2, 4, 90, 90, requires_grad=True)
    target = torch.rand(2, 4, 90, 90)
    size = output.numel() * output.element_size()

    def forward_backward() -> Tensor:
        pred = output.permute(0, 2, 3, 1)
        loss = fcos_ops.iou_loss(pred, target.permute(0, 2, 3, 1), box_format="ltrb")
        return torch.autograd.grad(loss, output)[0]

    assert forward_backward().stride() == output.stride()
    assert size <= allocated_bytes(forward_backward) <= size + 4096
