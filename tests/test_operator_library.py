"""torch.ops.fcos_ops.*, the nodes of exported programs, check what they get themselves: a graph
that a pass has edited, or that another runner runs, has no guards."""

from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops
from tests.common import assert_refuses
from tests.inputs.every_op import LEVELS, boxes
from tests.inputs.fcos_loss import make_problem, op_arguments, to

ops = torch.ops.fcos_ops
N = 5
X, Y = torch.randn(N, 3), torch.zeros(N, dtype=torch.long)
B, S = boxes(N), torch.rand(N)
OFFSETS = torch.tensor([0, 2, N])
SIZES_AND_STRIDES = tuple(n for level in LEVELS for n in level[:4])
SCALES_AND_RANGES = tuple(n for level in LEVELS for n in level[4:])

FOCAL = (X, Y, None, None, 1.0, 1.0, 0.25, 2.0, "sum", False)
IOU = (B, B, None, None, 1e-6, 1.0, "giou", "xyxy", 1e-7, "sum", False, False)
CENTERNESS = (S, S, None, None, None, 1.0, 1.0, "sum", False)
RULE = (0.5, 1.5, "clipped", True, "exact", 1e8, True)
ASSIGN = (B, Y, OFFSETS, SIZES_AND_STRIDES, SCALES_AND_RANGES, *RULE)
NMS = (B, S, Y, 0.5)
PADDED = (B, S, Y, OFFSETS, 0.5, 0.1, 4)


def heads(channels: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.ones(2, channels, le.height, le.width, dtype=dtype) for le in LEVELS]


SIZES = torch.tensor([[48, 40]] * 2)
POST = (
    *(
        heads(3),
        heads(4),
        heads(1),
        SIZES,
        None,
        None,
        SIZES_AND_STRIDES,
        SCALES_AND_RANGES,
        True,
        0.5,
    ),
    *fcos_ops.POSTPROCESS_RULES["improved"],
)
LOSS = op_arguments(to(make_problem(3, (2, 1)), torch.float32, False), (False, False, False))

WRONG: list[tuple[Any, tuple[Any, ...], int, Any, str]] = [
    (ops.sigmoid_focal_loss, FOCAL, 0, torch.rand(50000, 3), "labels must have shape"),
    (ops.sigmoid_focal_loss, FOCAL, 0, X.to(torch.complex64), "logits must have"),
    (ops.sigmoid_focal_loss, FOCAL, 0, torch.tensor(1.0), "logits must have"),
    (ops.sigmoid_focal_loss, FOCAL, 0, Y, "logits must have dtype"),
    (ops.sigmoid_focal_loss, FOCAL, 1, Y[:1], "labels must have shape"),
    (ops.sigmoid_focal_loss, FOCAL, 1, Y.short(), "labels must have"),
    (ops.sigmoid_focal_loss, FOCAL, 1, X[:1], r"labels must have shape \[5, 3\]"),
    (ops.sigmoid_focal_loss, FOCAL, 2, S[:1], "weight must have shape"),
    (ops.sigmoid_focal_loss, FOCAL, 3, S, "normalizer must have shape"),
    (ops.sigmoid_focal_loss, FOCAL, 8, "foo", "reduction must be one of .* got 'foo'"),
    (ops.iou_loss, IOU, 0, B[:, :3], "target must have shape"),
    (ops.iou_loss, IOU, 1, B[:1], "target must have shape"),
    (ops.iou_loss, IOU, 2, S[:1], "weight must have shape"),
    (ops.iou_loss, IOU, 6, "siou", "kind must be one of"),
    (ops.iou_loss, IOU, 7, "cxcywh", "box_format must be one of"),
    (ops.iou_loss, IOU, 9, "", "reduction must be one of"),
    (ops.centerness_target, (B,), 0, B[:, :3], r"ltrb must have shape \[..., 4\]"),
    (ops.centerness_loss, CENTERNESS, 1, S[:1], "target must have shape"),
    (ops.centerness_loss, CENTERNESS, 2, S[:1] > 0, "mask must have shape"),
    (ops.centerness_loss, CENTERNESS, 2, S, "mask must have dtype uint8 or bool"),
    (ops.centerness_loss, CENTERNESS, 3, Y[:1], "labels must have shape"),
    (ops.centerness_loss, (S, S, None, Y, *CENTERNESS[4:]), 2, S > 0, "mask must be None where"),
    (ops.centerness_loss, CENTERNESS, 7, "foo", "reduction must be one of"),
    (ops.assign_targets, ASSIGN, 0, B[:1], "labels must have shape"),
    (ops.assign_targets, ASSIGN, 0, B[:, :3], "boxes must have shape"),
    (ops.assign_targets, ASSIGN, 1, Y[:1], "labels must have shape"),
    (ops.assign_targets, ASSIGN, 2, torch.tensor([0, 99]), "offsets must rise from 0 to 5"),
    (ops.assign_targets, ASSIGN, 2, S[:3], "offsets must have dtype"),
    (ops.assign_targets, ASSIGN, 4, SCALES_AND_RANGES[:3], "levels must"),
    (ops.assign_targets, ASSIGN, 7, "foo", "center_region must be one of"),
    (ops.assign_targets, ASSIGN, 9, "foo", "area_rule must be one of"),
    (ops.nms, NMS, 0, torch.rand(50000, 4), "scores must have shape"),
    (ops.nms, NMS, 1, S[:1], "scores must have shape"),
    (ops.nms, NMS, 2, Y[:1], "classes must have shape"),
    (ops.nms_padded, PADDED, 1, S[:1], "scores must have shape"),
    (ops.nms_padded, PADDED, 3, torch.tensor([0, 99]), "offsets must rise from 0 to 5"),
    (ops.postprocess, POST, 0, heads(3)[:4], "one tensor for each of 5 levels"),
    (ops.postprocess, POST, 1, heads(3), r"ltrb\[0\] must have shape"),
    (ops.postprocess, POST, 1, [*heads(4)[:4], torch.ones(2, 4, 1, 1).half()], r"ltrb\[4\] must"),
    (ops.postprocess, POST, 2, heads(4), r"centerness\[0\] must have shape"),
    (ops.postprocess, POST, 3, SIZES[:1], "image_sizes must have shape"),
    (ops.postprocess, POST, 3, SIZES.to(torch.complex64), "image_sizes must have dtype"),
    (ops.postprocess, POST, 4, SIZES.float(), "original_sizes must have dtype"),
    (ops.postprocess, POST, 4, SIZES[:1], "original_sizes must have shape"),
    (ops.postprocess, POST, 5, X[0], "classes must have dtype uint8 or bool"),
    (ops.postprocess, POST, 5, X[0, :2] > 0, "classes must have shape of 3 elements"),
    (ops.postprocess, POST, 10, "foo", "threshold_on must be one of"),
    (ops.fcos_loss, LOSS, 0, LOSS[0][:-1], "one tensor for each of"),
    (ops.fcos_loss, LOSS, 1, LOSS[1][:, :-1], "matched must have shape"),
    (ops.fcos_loss, LOSS, 1, LOSS[1].long(), "matched must have dtype"),
    (ops.fcos_loss, LOSS, 2, LOSS[2][:1], "labels must have shape"),
    (ops.fcos_loss, LOSS, 3, LOSS[3][:1], "labels must have shape"),
    (ops.fcos_loss, LOSS, 4, LOSS[4][:1], "normalizers must have shape"),
    (ops.fcos_loss, LOSS, 10, "siou", "box_loss must be one of"),
    (ops.fcos_loss, LOSS, 11, "foo", "box_weight must be one of"),
    (ops.fcos_loss, LOSS, 12, "foo", "normalizer must be one of"),
]


@pytest.mark.parametrize(
    "op, arguments, index, wrong, message",
    WRONG,
    ids=[f"{op.__name__}-{i}-{number}" for number, (op, _, i, *_) in enumerate(WRONG)],
)
def test_wrong_arguments_raise(
    op: Any, arguments: tuple[Any, ...], index: int, wrong: Any, message: str
) -> None:
    assert_refuses(op, arguments, index, wrong, message)


def test_the_gradients_that_an_op_returns_are_its_callers() -> None:
    """The backward pass does not scale them in place, as it does what only it knows."""
    x = X.clone().requires_grad_()
    loss, (gradient,) = torch.ops.fcos_ops.sigmoid_focal_loss(x, *FOCAL[1:-1], True)
    before = gradient.clone()
    (loss * 3).backward()
    assert torch.equal(gradient, before) and torch.equal(x.grad, 3 * before)


@pytest.mark.parametrize("change", ["labels", "heads", "boxes"])
def test_user_code_that_changes_tensors_between_check_and_use(change: str) -> None:
    """`normalize` runs after the arguments were checked."""
    heads, (boxes, labels, offsets), levels = to(make_problem(3, (2, 1)), torch.float32, False)

    def normalize(counts: Tensor) -> Tensor:
        if change == "labels":
            labels.set_(torch.empty(0, dtype=torch.long))
        elif change == "boxes":
            boxes.set_(torch.empty(0, 4))
        else:
            heads[1][0].set_(torch.empty(0, 4, 4, 4))
        return counts

    with pytest.raises(ValueError, match="must have shape"):
        fcos_ops.fcos_loss(*heads, boxes, labels, offsets, levels=levels, normalize=normalize)
