"""What a call costs on an input of one element: the Python around the native library."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

import fcos_ops
from benchmarks.harness import OURS, Case
from fcos_ops import reference

# Those that wait for the device: NMS for the number of boxes that it keeps, the others' reference
# for offsets and for the positions of what it keeps.
WAITS = {
    "assign_targets": ("eager",),
    "nms": (OURS, "eager"),
    "batched_nms": (OURS, "eager"),
    "nms_padded": ("eager",),
    "postprocess": ("eager",),
}


def cases() -> Iterator[Case]:
    logits, labels = torch.zeros(1, 1), torch.zeros(1, dtype=torch.long)
    boxes, scores = torch.tensor([[0.0, 0.0, 8.0, 8.0]]), torch.ones(1)
    offsets = torch.tensor([0, 1])
    levels = (fcos_ops.Level(1, 1, 8, 8, 8.0, -1.0, 64.0),)
    sizes = torch.tensor([[8, 8]])
    head = ([torch.zeros(1, 1, 1, 1)], [torch.ones(1, 4, 1, 1)], [torch.zeros(1, 1, 1, 1)])

    def both(name: str, *arguments: Any, **options: Any) -> Case:
        def call(function: Callable[..., Any]) -> Callable[[], Any]:
            return lambda: function(*arguments, **options)

        contenders = {
            OURS: call(getattr(fcos_ops, name)),
            "eager": call(getattr(reference, name)),
        }
        waits = frozenset(WAITS.get(name, ()))
        return Case("calls", name, contenders, lambda ours, theirs: None, waits=waits)

    yield both("sigmoid_focal_loss", logits, labels)
    yield both("assign_targets", levels, boxes, labels, offsets)
    yield both("iou_loss", boxes, boxes)
    yield both("centerness_target", boxes)
    yield both("centerness_loss", scores, scores)
    yield both("nms", boxes, scores, 0.5)
    yield both("batched_nms", boxes, scores, labels, 0.5)
    limits = {"iou_threshold": 0.5, "score_threshold": 0.0, "max_detections": 1}
    yield both("nms_padded", boxes, scores, labels, offsets, **limits)
    yield both("postprocess", *head, sizes, levels=levels)
