"""What nms, batched_nms and nms_padded refuse, and how they say so."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import fcos_ops
from tests.inputs.nms import NAN, OPTIONS

B, S, L, OFFSETS = torch.zeros(4, 4), torch.zeros(4), torch.zeros(4).long(), torch.tensor([0, 4])
BAD_BOXES = [
    (([[0.0] * 4] * 4, S), TypeError, "boxes must be a torch.Tensor"),
    ((B.long(), S), TypeError, "boxes must have dtype"),
    ((B.to_sparse(), S), TypeError, "boxes must be a dense tensor"),
    ((B[:, :3], S), ValueError, r"boxes must have shape \[N, 4\]"),
    ((B[None], S), ValueError, r"boxes must have shape \[N, 4\]"),
    ((B[0], S), ValueError, r"boxes must have shape \[N, 4\]"),
    ((B, None), TypeError, "scores must be a torch.Tensor"),
    ((B, L), TypeError, "scores must have dtype"),
    ((B, S[:3]), ValueError, "scores must have shape"),
    ((B, S[:, None]), ValueError, "scores must have shape"),
    ((B, S.to("meta")), ValueError, "scores must be on the device of boxes"),
]
BAD_THRESHOLD = [
    (-0.1, ValueError),
    (1.1, ValueError),
    (NAN, ValueError),
    ("0.5", TypeError),
    (None, TypeError),
]
BAD_IDS = [
    ([0] * 4, TypeError, "must be a torch.Tensor"),
    (S, TypeError, "must have dtype"),
    (L[:3], ValueError, "must have shape"),
    (L.to("meta"), ValueError, "must be on the device of boxes"),
]
BAD_PADDED = [
    ({"offsets": [0, 4]}, TypeError, "offsets must be a torch.Tensor"),
    ({"offsets": OFFSETS.float()}, TypeError, "offsets must have dtype"),
    ({"offsets": OFFSETS[:0]}, ValueError, "offsets must have shape"),
    ({"offsets": OFFSETS[None]}, ValueError, "offsets must have shape"),
    ({"offsets": OFFSETS.to("meta")}, ValueError, "offsets must be on the device of boxes"),
    ({"offsets": torch.tensor([0, 3])}, ValueError, "offsets must rise from 0 to 4"),
    ({"offsets": torch.tensor([1, 4])}, ValueError, "offsets must rise from 0 to 4"),
    ({"offsets": torch.tensor([0, 5])}, ValueError, "offsets must rise from 0 to 4"),
    ({"offsets": torch.tensor([0, 3, 2, 4])}, ValueError, "offsets must rise from 0 to 4"),
    ({"score_threshold": NAN}, ValueError, "score_threshold"),
    ({"score_threshold": "0"}, TypeError, "score_threshold"),
    ({"max_detections": -1}, ValueError, "max_detections"),
    ({"max_detections": 1.0}, TypeError, "max_detections"),
    ({"max_detections": True}, TypeError, "max_detections"),
]


def padded(
    boxes: Any = B, scores: Any = S, classes: Any = L, offsets: Any = OFFSETS, **options: Any
) -> Any:
    return fcos_ops.nms_padded(boxes, scores, classes, offsets, **{**OPTIONS, **options})


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
def test_bad_input(backend: str) -> None:
    functions: list[Callable[..., Any]] = [
        lambda b=B, s=S, iou_threshold=0.5: fcos_ops.nms(b, s, iou_threshold),
        lambda b=B, s=S, iou_threshold=0.5: fcos_ops.batched_nms(b, s, L, iou_threshold),
        padded,
    ]
    with fcos_ops.backend(backend):
        for function in functions:
            for arguments, error, message in BAD_BOXES:
                with pytest.raises(error, match=message):
                    function(*arguments)
            for threshold, error in BAD_THRESHOLD:
                with pytest.raises(error, match="iou_threshold must be"):
                    function(iou_threshold=threshold)
        for ids, error, message in BAD_IDS:
            with pytest.raises(error, match="idxs " + message):
                fcos_ops.batched_nms(B, S, ids, 0.5)  # type: ignore[arg-type]
            with pytest.raises(error, match="classes " + message):
                padded(classes=ids)
        for options, error, message in BAD_PADDED:
            with pytest.raises(error, match=message):
                padded(**options)


def test_too_many_boxes() -> None:
    boxes, scores = torch.zeros(1, 4).expand(2**31, 4), torch.zeros(1).expand(2**31)
    with pytest.raises(ValueError, match="boxes must have fewer than"):
        fcos_ops.nms(boxes, scores, 0.5)


def test_offsets_of_a_million_millions_are_checked_before_they_are_copied() -> None:
    boxes, scores = torch.rand(5, 4), torch.rand(5)
    offsets = torch.tensor([0]).expand(2**40)
    with pytest.raises(ValueError, match="offsets must rise from 0 to 5"):
        fcos_ops.nms_padded(
            boxes,
            scores,
            None,
            offsets,
            iou_threshold=0.5,
            score_threshold=None,
            max_detections=1,
        )
    level = fcos_ops.Level(1, 1, 8, 8, 8.0, -1.0, 64.0)
    labels = torch.zeros(5, dtype=torch.long)
    with pytest.raises(ValueError, match="offsets must rise from 0 to 5"):
        fcos_ops.assign_targets([level], boxes, labels, offsets)
