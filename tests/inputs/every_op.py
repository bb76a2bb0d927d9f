"""Every op as a function of tensors alone, on inputs of several sizes: for tests of what holds for
each of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import fcos_ops

CLASSES = 3
LEVELS = fcos_ops.pyramid_levels([(6, 5), (3, 3), (2, 2), (1, 1), (1, 1)])
SIZES = (4, 9, 1)


class EveryOp(NamedTuple):
    """make(n) gives inputs for n boxes, rows or images; run calls the op with them. names: of its
    arguments that each input is. differentiable: how many of the first inputs are."""

    names: tuple[str, ...]
    make: Callable[[int], tuple[Tensor, ...]]
    run: Callable[..., tuple[Tensor, ...]]
    differentiable: int = 0


def boxes(n: int) -> Tensor:
    corners = torch.rand(n, 2) * 40
    return torch.cat([corners, corners + 4 + torch.rand(n, 2) * 20], 1)


def _rows(n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    labels = torch.randint(-1, CLASSES, (n,))
    return torch.randn(n, CLASSES), labels, torch.rand(n) + 0.5, torch.tensor(3.0)


def _pairs(n: int) -> tuple[Tensor, Tensor, Tensor]:
    return boxes(n), boxes(n), torch.rand(n) + 0.5


def _truth(n: int) -> tuple[Tensor, Tensor, Tensor]:
    return boxes(n), torch.randint(0, CLASSES, (n,)), torch.tensor([0, n // 3, n])


def _heads(batch: int) -> tuple[Tensor, ...]:
    logits, ltrb, centerness = (
        [torch.randn(batch, channels, level.height, level.width) for level in LEVELS]
        for channels in (CLASSES, 4, 1)
    )
    return *logits, *[t.abs() + 0.5 for t in ltrb], *centerness


_HEAD_NAMES = tuple(
    f"{head}[{i}]" for head in ("cls_logits", "ltrb", "centerness") for i in range(len(LEVELS))
)
_IN_HEADS = len(_HEAD_NAMES)


def _split(maps: tuple[Tensor, ...]) -> list[list[Tensor]]:
    count = len(LEVELS)
    return [list(maps[i : i + count]) for i in range(0, _IN_HEADS, count)]


def _image_sizes(batch: int) -> tuple[Tensor, Tensor]:
    return torch.tensor([[48, 40]] * batch), torch.tensor([[96, 80]] * batch)


def _focal(x: Tensor, labels: Tensor, weight: Tensor, normalizer: Tensor) -> tuple[Tensor, ...]:
    return (
        fcos_ops.sigmoid_focal_loss(
            x, labels, weight=weight, normalizer=normalizer, normalizer_floor=0.5
        ),
    )


def _fcos(*inputs: Tensor) -> tuple[Tensor, ...]:
    heads, truth = _split(inputs), inputs[_IN_HEADS:]
    return tuple(fcos_ops.fcos_loss(*heads, *truth, levels=LEVELS))


def _maps(n: int) -> tuple[Tensor, ...]:
    maps = torch.randn(n, 4, 3, 2), torch.randn(n, 4, 3, 2).to(memory_format=torch.channels_last)
    return *maps, torch.rand(4) + 0.5, torch.randn(4)


def _group_norm(first: Tensor, second: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    return tuple(fcos_ops.group_norm([first, second], w, b, groups=2, activation="relu"))


def _postprocess(*inputs: Tensor) -> tuple[Tensor, ...]:
    sizes, original, classes = inputs[_IN_HEADS:]
    options: dict[str, Any] = {"original_sizes": original, "classes": classes}
    return tuple(fcos_ops.postprocess(*_split(inputs), sizes, levels=LEVELS, **options))


def _nms_padded(b: Tensor, s: Tensor, classes: Tensor, offsets: Tensor) -> tuple[Tensor, ...]:
    limits: dict[str, Any] = {"iou_threshold": 0.5, "score_threshold": 0.1, "max_detections": 4}
    return tuple(fcos_ops.nms_padded(b, s, classes, offsets, **limits))


EVERY_OP = {
    "sigmoid_focal_loss": EveryOp(("logits", "labels", "weight", "normalizer"), _rows, _focal, 1),
    "sigmoid_focal_loss of dense targets": EveryOp(
        ("logits", "labels"),
        lambda n: (torch.randn(n, CLASSES), torch.rand(n, CLASSES)),
        lambda x, t: (fcos_ops.sigmoid_focal_loss(x, t),),
        1,
    ),
    "sigmoid_focal_loss of each": EveryOp(
        ("logits", "labels"),
        lambda n: _rows(n)[:2],
        lambda x, y: (fcos_ops.sigmoid_focal_loss(x, y, reduction="none"),),
        1,
    ),
    "assign_targets": EveryOp(
        ("boxes", "labels", "offsets"),
        _truth,
        lambda *truth: tuple(fcos_ops.assign_targets(LEVELS, *truth)),
    ),
    "iou_loss": EveryOp(
        ("pred", "target", "weight"),
        _pairs,
        lambda p, t, w: (fcos_ops.iou_loss(p, t, weight=w),),
        2,
    ),
    "iou_loss of each": EveryOp(
        ("pred", "target"),
        lambda n: _pairs(n)[:2],
        lambda p, t: (fcos_ops.iou_loss(p, t, reduction="none"),),
        2,
    ),
    "centerness_target": EveryOp(
        ("ltrb",), lambda n: (boxes(n),), lambda b: (fcos_ops.centerness_target(b),)
    ),
    "centerness_loss": EveryOp(
        ("logits", "target", "mask"),
        lambda n: (torch.randn(n), torch.rand(n), torch.arange(n) % 2 == 0),
        lambda x, t, m: (fcos_ops.centerness_loss(x, t, mask=m, reduction="mean"),),
        1,
    ),
    "centerness_loss of each": EveryOp(
        ("logits", "target", "labels"),
        lambda n: (torch.randn(n), torch.rand(n), torch.arange(n) % 3 - 1),
        lambda x, t, y: (fcos_ops.centerness_loss(x, t, labels=y, reduction="none"),),
        1,
    ),
    "fcos_loss": EveryOp(
        (*_HEAD_NAMES, "boxes", "labels", "offsets"),
        lambda n: (*_heads(2), *_truth(n)),
        _fcos,
        _IN_HEADS,
    ),
    "group_norm": EveryOp(("maps[0]", "maps[1]", "weight", "bias"), _maps, _group_norm, 4),
    "nms": EveryOp(
        ("boxes", "scores"),
        lambda n: (boxes(n), torch.rand(n)),
        lambda b, s: (fcos_ops.nms(b, s, 0.5),),
    ),
    "batched_nms": EveryOp(
        ("boxes", "scores", "idxs"),
        lambda n: (boxes(n), torch.rand(n), torch.randint(0, CLASSES, (n,))),
        lambda b, s, i: (fcos_ops.batched_nms(b, s, i, 0.5),),
    ),
    "nms_padded": EveryOp(
        ("boxes", "scores", "classes", "offsets"),
        lambda n: (boxes(n), torch.rand(n), *_truth(n)[1:]),
        _nms_padded,
    ),
    "postprocess": EveryOp(
        (*_HEAD_NAMES, "image_sizes", "original_sizes", "classes"),
        lambda n: (*_heads(n), *_image_sizes(n), torch.arange(CLASSES) != 1),
        _postprocess,
    ),
}
DIFFERENTIABLE = [name for name, op in EVERY_OP.items() if op.differentiable]
# Those whose first result is one number.
REDUCED = [n for n in DIFFERENTIABLE if not n.endswith("of each") and n != "group_norm"]
