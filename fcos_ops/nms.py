"""Non-maximum suppression: of one set of boxes, of boxes in classes, of a batch of images."""

import math
from typing import Any

import torch
from torch import Tensor

from fcos_ops import _checks, _library, _native, _views, reference
from fcos_ops.results import PaddedKeep


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression; the contract of `torchvision.ops.nms`.

    Boxes are taken by falling score, equal scores by rising index. A box is dropped if a kept one
    overlaps it: intersection > iou_threshold * union, in float32 (float64 for float64 boxes) with
    every operation rounded, sides below 0 counted as 0. Boxes with a NaN coordinate or score are
    never kept and suppress nothing. The result does not depend on the device or on threads.

    Args:
        boxes: [N, 4] x1, y1, x2, y2; float16, bfloat16, float32 or float64, any strides.
        scores: [N], one of the same dtypes, not necessarily that of the boxes.
        iou_threshold: in [0, 1].

    Returns:
        [K] int64, the indices of the kept boxes by falling score. K is read back to the host.

    Raises:
        TypeError: an argument is no tensor or no number, or has an unsupported dtype.
        ValueError: shapes or devices do not fit, iou_threshold is out of range, or N >= 2^31.
    """
    iou_threshold = _check(boxes, scores, iou_threshold)
    op = _NMS_OP if _native.enabled("nms", boxes) else _NMS_OP.reference
    return op(boxes, scores, None, iou_threshold)


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """As `nms`, but only boxes of the same class (or image, or both) suppress each other; the
    contract of `torchvision.ops.batched_nms`.

    Ids are compared, never turned into coordinate offsets, so the result is exact for all ids and
    coordinates.

    Args:
        boxes: [N, 4] x1, y1, x2, y2; float16, bfloat16, float32 or float64, any strides.
        scores: [N], one of the same dtypes, not necessarily that of the boxes.
        idxs: [N] int64 or int32, any values.
        iou_threshold: in [0, 1].

    Returns:
        [K] int64, the indices of the kept boxes by falling score. K is read back to the host.

    Raises:
        TypeError: an argument is no tensor or no number, or has an unsupported dtype.
        ValueError: shapes or devices do not fit, iou_threshold is out of range, or N >= 2^31.
    """
    iou_threshold = _check(boxes, scores, iou_threshold)
    _check_classes("idxs", idxs, boxes)
    op = _NMS_OP if _native.enabled("batched_nms", boxes) else _NMS_OP.reference
    return op(boxes, scores, idxs, iou_threshold)


def nms_padded(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor | None,
    offsets: Tensor,
    *,
    iou_threshold: float,
    score_threshold: float | None,
    max_detections: int,
) -> PaddedKeep:
    """Non-maximum suppression in every image of a batch, with results of a fixed size: nothing is
    read back to the host.

    The rule is that of `nms`. Boxes of different images or classes never suppress each other; of
    each image the best max_detections kept boxes are returned.

    Args:
        boxes: [M, 4] x1, y1, x2, y2; float16, bfloat16, float32 or float64, any strides. First
            those of image 0, then those of image 1, ...
        scores: [M], one of the same dtypes, not necessarily that of the boxes.
        classes: [M] int64 or int32, any values; None: all boxes are of one class.
        offsets: [B + 1] int64 or int32: image b has boxes[offsets[b]:offsets[b + 1]]. They run from
            0 to M and never fall, which is checked on a CPU; elsewhere they are clamped.
        iou_threshold: in [0, 1].
        score_threshold: only scores > score_threshold (rounded to float32, or float64 for float64
            scores) take part; None: all.
        max_detections: in [0, 2^31).

    Returns:
        PaddedKeep. keep: [B, max_detections] int64, indices into `boxes` by falling score, then -1.
        count: [B] int64, how many of them are indices.

    Raises:
        TypeError: an argument is no tensor or no number, or has an unsupported dtype.
        ValueError: shapes or devices do not fit, a number is out of range, M >= 2^31, or offsets on
            a CPU are not as above.
    """
    iou_threshold = _check(boxes, scores, iou_threshold)
    if classes is not None:
        _check_classes("classes", classes, boxes)
    _checks.offsets_of_images(offsets, boxes)
    if score_threshold is not None:
        score_threshold = _checks.number("score_threshold", score_threshold)
    max_detections = _checks.integer("max_detections", max_detections, 0, 2**31 - 1)
    op = _PADDED_OP if _native.enabled("nms_padded", boxes) else _PADDED_OP.reference
    return PaddedKeep(
        *op(boxes, scores, classes, offsets, iou_threshold, score_threshold, max_detections)
    )


def _check(boxes: Tensor, scores: Tensor, iou_threshold: float) -> float:
    """Checks what every function takes; returns the threshold as a plain float."""
    _checks.tensor("boxes", boxes, _checks.FLOATING)
    _checks.boxes("boxes", boxes, 2)
    _checks.tensor("scores", scores, _checks.FLOATING)
    _checks.shape("scores", scores, (boxes.shape[0],), "one a box")
    _checks.same_device("scores", scores, "boxes", boxes)
    return _checks.number("iou_threshold", iou_threshold, 0.0, 1.0)


def _check_classes(name: str, classes: Tensor, boxes: Tensor) -> None:
    _checks.tensor(name, classes, _checks.INTEGER)
    _checks.shape(name, classes, (boxes.shape[0],), "one a box")
    _checks.same_device(name, classes, "boxes", boxes)


# ---------------------------------------------------------------------------- torch registration


def _run(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor | None,
    offsets: Tensor | None,
    iou_threshold: float,
    score_threshold: float,
    keep: Tensor,
    count: Tensor,
) -> None:
    """Fills `keep` and `count`. Without offsets all boxes belong to one image."""
    if boxes.shape[0] >= 2**31:
        raise ValueError(f"boxes must have fewer than 2^31 rows, got {_checks.describe(boxes)}")
    _native.call(
        "nms",
        boxes,
        _views.contiguous("boxes", boxes),
        _views.contiguous("scores", scores),
        None if classes is None else _views.contiguous("classes", classes),
        None if offsets is None else _views.contiguous("offsets", offsets),
        iou_threshold,
        score_threshold,
        keep,
        count,
    )


def _nms_kernel(boxes: Tensor, scores: Tensor, idxs: Tensor | None, iou_threshold: float) -> Tensor:
    if boxes.is_meta:
        raise ValueError(
            "boxes must hold values, as the size of the result depends on them, got "
            f"{_checks.describe(boxes)}"
        )
    if idxs is not None:
        idxs = _views.readable("idxs", idxs)
    keep = torch.empty(boxes.shape[0], dtype=torch.int64, device=boxes.device)
    count = torch.empty(1, dtype=torch.int64, device=boxes.device)
    _run(boxes, scores, idxs, None, iou_threshold, math.nan, keep, count)
    num_kept = int(count.item())
    if num_kept == keep.shape[0]:
        return keep
    # A copy, so that a short result does not hold on to the long buffer.
    return keep.narrow(0, 0, num_kept).clone()


def _nms_reference(
    boxes: Tensor, scores: Tensor, idxs: Tensor | None, iou_threshold: float
) -> Tensor:
    if idxs is None:
        return reference.nms(boxes, scores, iou_threshold)
    return reference.batched_nms(boxes, scores, idxs, iou_threshold)


def _nms_fake(boxes: Tensor, *arguments: object) -> Tensor:
    num_kept = torch.library.get_ctx().new_dynamic_size()
    return torch.empty(num_kept, dtype=torch.int64, device=boxes.device)


def _allocate(
    boxes: Tensor, scores: Tensor, classes: Tensor | None, offsets: Tensor, *options: Any
) -> tuple[Tensor, Tensor]:
    """The fields of PaddedKeep, not yet computed."""
    num_images, max_detections = offsets.shape[0] - 1, options[-1]
    return (
        torch.empty(num_images, max_detections, dtype=torch.int64, device=boxes.device),
        torch.empty(num_images, dtype=torch.int64, device=boxes.device),
    )


def _padded_kernel(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor | None,
    offsets: Tensor,
    iou_threshold: float,
    score_threshold: float | None,
    max_detections: int,
) -> tuple[Tensor, Tensor]:
    _views.check_offsets_to_copy(offsets, boxes.shape[0])
    keep, count = _allocate(boxes, scores, classes, offsets, max_detections)
    threshold = math.nan if score_threshold is None else score_threshold
    _run(boxes, scores, classes, offsets, iou_threshold, threshold, keep, count)
    return keep, count


def _padded_reference(
    boxes: Tensor, scores: Tensor, classes: Tensor | None, offsets: Tensor, *options: Any
) -> PaddedKeep:
    iou_threshold, score_threshold, max_detections = options
    _checks.offsets("offsets", offsets, boxes.shape[0])
    return reference.nms_padded(
        boxes,
        scores,
        classes,
        offsets,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
        max_detections=max_detections,
    )


_NMS_OP = _library.Op(
    "nms(Tensor boxes, Tensor scores, Tensor? idxs, float iou_threshold) -> Tensor",
    kernel=_nms_kernel,
    fake=_nms_fake,
    reference=_nms_reference,
    discrete=True,
)
_PADDED_OP = _library.Op(
    "nms_padded(Tensor boxes, Tensor scores, Tensor? classes, Tensor offsets, float iou_threshold, "
    "float? score_threshold, SymInt max_detections) -> (Tensor keep, Tensor count)",
    kernel=_padded_kernel,
    fake=_allocate,
    reference=_padded_reference,
    discrete=True,
)
