"""What fcos_loss refuses, and how it says so."""

import math
from typing import Any

import pytest
import torch

import fcos_ops
from fcos_ops import LossRule
from tests.inputs.fcos_loss import make_problem

GOOD = make_problem(3, (1,), ((3, 4), (2, 2)))
(X, Y), D, C = GOOD.heads
BOXES, LABELS, OFFSETS = GOOD.truth
LEVELS = GOOD.levels
BAD_INPUT = [
    ({"cls_logits": [X]}, ValueError, "cls_logits must hold one tensor"),
    ({"ltrb": D[:1]}, ValueError, "ltrb must hold one tensor"),
    ({"levels": []}, ValueError, "levels must hold 1 to 16 levels, got 0"),
    ({"levels": [LEVELS[0], (2, 2)]}, TypeError, r"levels\[1\] must be a Level"),
    ({"cls_logits": [1.0, Y]}, TypeError, r"cls_logits\[0\] must be a torch.Tensor"),
    ({"cls_logits": [X.int(), Y]}, TypeError, r"cls_logits\[0\] must have dtype"),
    ({"cls_logits": [X[0], Y]}, ValueError, r"cls_logits\[0\] must have shape"),
    ({"cls_logits": [X, Y.float()]}, TypeError, r"cls_logits\[1\] must have dtype"),
    ({"cls_logits": [X, Y[:, :2]]}, ValueError, r"cls_logits\[1\] must have shape"),
    ({"ltrb": [D[0][:, :3], D[1]]}, ValueError, r"ltrb\[0\] must have shape"),
    ({"ltrb": [D[0], D[1].to("meta")]}, ValueError, r"ltrb\[1\] must be on the device"),
    ({"centerness": [C[0], D[1]]}, ValueError, r"centerness\[1\] must have shape"),
    ({"boxes": BOXES[:, :3]}, ValueError, "boxes must have shape"),
    ({"boxes": BOXES.clone().requires_grad_()}, ValueError, "boxes must not require a gradient"),
    ({"boxes": BOXES.to("meta")}, ValueError, "must be on the device"),
    ({"labels": LABELS.float()}, TypeError, "labels must have dtype"),
    ({"labels": LABELS[:0]}, ValueError, "labels must have shape"),
    ({"offsets": torch.tensor([0, 1, 1])}, ValueError, "offsets must have shape"),
    ({"offsets": torch.tensor([0, 2])}, ValueError, "offsets must rise"),
    ({"rule": "fcos"}, ValueError, "rule must be the name of a preset, one of paper, improved"),
    ({"loss": "fcos"}, ValueError, "loss must be the name of a preset, one of paper, improved"),
    ({"loss": ("giou", "uniform")}, TypeError, "loss must be a preset name or a LossRule"),
    ({"loss": LossRule(box_loss="siou")}, ValueError, "loss.box_loss"),
    ({"loss": LossRule(box_weight="iou")}, ValueError, "loss.box_weight"),
    ({"loss": LossRule(normalizer="moving")}, ValueError, "loss.normalizer"),
    ({"loss": LossRule(alpha=2.0)}, ValueError, "loss.alpha"),
    ({"loss": LossRule(gamma=-1.0)}, ValueError, "loss.gamma"),
    ({"loss": LossRule(gamma=math.inf)}, ValueError, "loss.gamma"),
    ({"loss": LossRule(eps=0.0)}, ValueError, "loss.eps"),
    ({"loss": LossRule(eps=10**400)}, ValueError, "loss.eps must be a number that a double"),
    ({"loss": LossRule(alpha="1")}, TypeError, "loss.alpha must be a number, got str '1'"),
    ({"loss": LossRule(box_loss=X)}, TypeError, "loss.box_loss must be one of .* tensor of shape"),
    ({"loss": LossRule(box_weight=1)}, TypeError, "loss.box_weight must be one of .*, got int 1"),
    ({"normalize": 5}, TypeError, "normalize must be a function or None, got int 5"),
    ({"expected_scale": 0.0}, ValueError, "expected_scale"),
    ({"expected_scale": "2"}, TypeError, "expected_scale"),
    ({"expected_scale": torch.ones(2)}, ValueError, "expected_scale must hold one number"),
    ({"expected_scale": torch.tensor(2)}, TypeError, "expected_scale must have dtype"),
]


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
@pytest.mark.parametrize("changes, error, message", BAD_INPUT)
def test_bad_input(changes: Any, error: type[Exception], message: str, backend: str) -> None:
    good = {
        "cls_logits": [X, Y],
        "ltrb": D,
        "centerness": C,
        "boxes": BOXES,
        "labels": LABELS,
        "offsets": OFFSETS,
        "levels": LEVELS,
    }
    with fcos_ops.backend(backend), pytest.raises(error, match=message):
        fcos_ops.fcos_loss(**{**good, **changes})


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
@pytest.mark.parametrize(
    "result, error",
    [(lambda c: c[0], ValueError), (lambda c: 3.0, TypeError), (lambda c: c.long(), TypeError)],
)
def test_bad_normalize(result: Any, error: type[Exception], backend: str) -> None:
    problem = make_problem()
    with fcos_ops.backend(backend), pytest.raises(error, match="the result of normalize"):
        fcos_ops.fcos_loss(*problem.heads, *problem.truth, levels=problem.levels, normalize=result)
