"""postprocess names the argument that does not fit."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops
from fcos_ops import POSTPROCESS_RULES
from tests.inputs.postprocess import (
    SIZES,
    image_sizes,
    levels_of,
    make_heads,
    to,
)

GOOD = to(make_heads(2, 3, SIZES[3:]), torch.float32)
HEADS = dict(zip(("cls_logits", "ltrb", "centerness"), GOOD, strict=True))
RULE = POSTPROCESS_RULES["improved"]


def changed(name: str, change: Callable[[Tensor], Any]) -> dict[str, Any]:
    """The last level of a head, changed."""
    return {name: [*HEADS[name][:-1], change(HEADS[name][-1])]}


BAD_INPUT: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"cls_logits": []}, ValueError, "cls_logits must hold one tensor for each of 2 levels, got 0"),
    ({"cls_logits": None}, TypeError, "cls_logits must be a list or tuple, got NoneType"),
    ({"ltrb": HEADS["ltrb"][:1]}, ValueError, "ltrb must hold one tensor for each of 2 levels"),
    ({"centerness": HEADS["centerness"][:1]}, ValueError, "centerness must hold one tensor for"),
    ({"levels": levels_of(GOOD)[:1]}, ValueError, "cls_logits must hold one tensor for each of 1"),
    ({"levels": levels_of(GOOD) * 9}, ValueError, "levels must hold 1 to 16 levels, got 18"),
    ({"levels": None}, TypeError, "levels must be a list or tuple, got NoneType"),
    ({"levels": [(2, 3), (1, 1)]}, TypeError, r"levels\[0\] must be a Level, got tuple \(2, 3\)"),
    (
        {"levels": [v._replace(stride_x=0) for v in levels_of(GOOD)]},
        ValueError,
        r"levels\[0\].stride_x must",
    ),
    (
        {"levels": [v._replace(scale=math.nan) for v in levels_of(GOOD)]},
        ValueError,
        r"levels\[0\].scale must",
    ),
    ({"normalized": 1}, TypeError, "normalized must be a bool, got int 1"),
    ({"location_offset": math.nan}, ValueError, "location_offset must be in"),
    ({"cls_logits": [t[0] for t in HEADS["cls_logits"]]}, ValueError, r"cls_logits\[0\] must have"),
    ({"ltrb": [None, None]}, TypeError, r"ltrb\[0\] must be a torch.Tensor"),
    (changed("cls_logits", lambda t: [1.0]), TypeError, r"cls_logits\[1\] must be a torch.Tensor"),
    (changed("cls_logits", lambda t: t.double()), TypeError, r"cls_logits\[1\] must have dtype"),
    (changed("ltrb", lambda t: t.half()), TypeError, r"ltrb\[1\] must have dtype float32"),
    ({"centerness": [t.int() for t in HEADS["centerness"]]}, TypeError, r"centerness\[0\] must"),
    (changed("cls_logits", lambda t: t[:, :2]), ValueError, r"cls_logits\[1\] must have shape"),
    (changed("ltrb", lambda t: t[:, :3]), ValueError, r"ltrb\[1\] must have shape"),
    (changed("ltrb", lambda t: t[:1]), ValueError, r"ltrb\[1\] must have shape"),
    (changed("centerness", lambda t: t[:, 0]), ValueError, r"centerness\[1\] must have shape"),
    (changed("centerness", lambda t: t.to("meta")), ValueError, r"centerness\[1\] must be on the"),
    ({"levels": levels_of(GOOD)[::-1]}, ValueError, r"cls_logits\[0\] must have shape"),
    ({"image_sizes": [[8, 8]] * 2}, TypeError, "image_sizes must be a torch.Tensor"),
    ({"image_sizes": torch.ones(2, 2)}, TypeError, "image_sizes must have dtype"),
    ({"image_sizes": torch.ones(1, 2).long()}, ValueError, "image_sizes must have shape"),
    ({"image_sizes": torch.ones(2, 2).long().to("meta")}, ValueError, "image_sizes must be on"),
    ({"original_sizes": [[8, 8]] * 2}, TypeError, "original_sizes must be a torch.Tensor"),
    ({"original_sizes": torch.ones(2, 2)}, TypeError, "original_sizes must have dtype"),
    ({"original_sizes": torch.ones(2, 3).long()}, ValueError, "original_sizes must have shape"),
    ({"original_sizes": torch.ones(2, 2).int().to("meta")}, ValueError, "original_sizes must be"),
    ({"classes": [True] * 3}, TypeError, "classes must be a torch.Tensor"),
    ({"classes": torch.ones(3).long()}, TypeError, "classes must have dtype bool"),
    ({"classes": torch.ones(4).bool()}, ValueError, r"classes must have shape \(3,\)"),
    ({"classes": torch.ones(3).bool().to("meta")}, ValueError, "classes must be on"),
    ({"rule": "best"}, ValueError, "rule"),
    ({"rule": 3}, TypeError, "rule"),
    ({"rule": RULE._replace(clip="never")}, ValueError, "rule.clip"),
    ({"rule": RULE._replace(iou_threshold=1.5)}, ValueError, "rule.iou_threshold"),
    ({"rule": RULE._replace(iou_threshold=math.nan)}, ValueError, "rule.iou_threshold"),
    ({"rule": RULE._replace(candidates_per_level=-1)}, ValueError, "rule.candidates_per_level"),
    ({"rule": RULE._replace(max_detections=-1)}, ValueError, r"rule.max_detections must be in \[0"),
    ({"rule": RULE._replace(max_detections=1.5)}, TypeError, "rule.max_detections must be an int"),
    ({"rule": RULE._replace(score_threshold="3")}, TypeError, "rule.score_threshold must be a num"),
    ({"rule": RULE._replace(class_agnostic="no")}, TypeError, "rule.class_agnostic must be a bool"),
    (
        {"rule": RULE._replace(max_detections_per_class=-1)},
        ValueError,
        r"_per_class must be in \[0, ",
    ),
    (
        {"rule": RULE._replace(max_detections_per_class=True)},
        TypeError,
        "_per_class must be an int",
    ),
    (
        {"rule": RULE._replace(max_detections_per_class=2**63)},
        ValueError,
        r"_class must be in \[0, ",
    ),
    (
        {"rule": HEADS["ltrb"]},
        TypeError,
        r"got list \[torch.float32 tensor of shape \(2, 4",
    ),
]


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
@pytest.mark.parametrize("change, error, message", BAD_INPUT)
def test_bad_input(
    change: dict[str, Any], error: type[Exception], message: str, backend: str
) -> None:
    arguments = {**HEADS, "image_sizes": image_sizes(GOOD), "levels": levels_of(GOOD), **change}
    with fcos_ops.backend(backend), pytest.raises(error, match=message):
        fcos_ops.postprocess(**arguments)
