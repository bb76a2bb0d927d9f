"""iou_loss, forward + backward: every kind at few and at many boxes."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

import fcos_ops
from benchmarks import problem
from benchmarks.contenders import compiled, torchvision_ops
from benchmarks.harness import OURS, Case
from fcos_ops import reference

KINDS = ("iou", "linear_iou", "giou", "diou", "ciou")
TORCHVISION = {
    "giou": "generalized_box_iou_loss",
    "diou": "distance_box_iou_loss",
    "ciou": "complete_box_iou_loss",
}


def within(tolerance: float) -> Callable[[Any, Any], None]:
    def agree(ours: Any, theirs: Any) -> None:
        for a, b in zip(ours, theirs, strict=True):
            assert (a - b).norm() <= tolerance * b.norm()

    return agree


def run(loss: Callable[[Tensor], Tensor], pred: Tensor) -> Callable[[], Any]:
    def forward_backward() -> tuple[Tensor, Tensor]:
        boxes = pred.detach().requires_grad_()
        value = loss(boxes)
        return value.detach(), torch.autograd.grad(value, boxes)[0]

    return forward_backward


def cases() -> Iterator[Case]:
    for count, target in ((2_000, 5.0), (45_000, 20.0)):
        boxes, _, _ = problem.objects(1, count)
        noise = torch.randn(boxes.shape, generator=problem.generator(1))
        pred = boxes + noise
        for kind in KINDS:

            def ours(p: Tensor, kind: str = kind, boxes: Tensor = boxes) -> Tensor:
                return fcos_ops.iou_loss(p, boxes, kind=kind)

            def eager(p: Tensor, kind: str = kind, boxes: Tensor = boxes) -> Tensor:
                return reference.iou_loss(p, boxes, kind=kind)

            losses = {OURS: ours, "eager": eager, "torch.compile": compiled(eager)}
            if torchvision_ops is not None and kind in TORCHVISION:
                theirs = getattr(torchvision_ops, TORCHVISION[kind])
                losses["torchvision"] = lambda p, theirs=theirs, boxes=boxes: theirs(
                    p, boxes, reduction="sum"
                )
            contenders = {name: run(loss, pred) for name, loss in losses.items()}
            name = f"{kind}, {count} boxes, forward+backward"
            waits = frozenset({"torchvision"})  # it indexes by a mask
            yield Case("iou_loss", name, contenders, within(1e-4), target, 3 * 16 * count, waits)
