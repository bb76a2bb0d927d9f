"""The whole training loss of FCOS (arXiv 1904.01355 and 2006.09214), composed of the other ops."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..levels import Level
from ..presets import AssignmentRule, LossRule, resolve_loss_rule
from ..results import FcosLosses, Targets
from .assign_targets import assign_targets
from .centerness import centerness_loss
from .common import compute_dtype
from .focal_loss import sigmoid_focal_loss
from .iou_loss import iou_loss


def fcos_loss(
    cls_logits: Sequence[Tensor],
    ltrb: Sequence[Tensor],
    centerness: Sequence[Tensor],
    boxes: Tensor,
    labels: Tensor,
    offsets: Tensor,
    *,
    levels: Sequence[Level],
    rule: str | AssignmentRule = "improved",
    loss: str | LossRule | None = None,
    normalize: Callable[[Tensor], Tensor] | None = None,
    expected_scale: float | Tensor | None = None,
) -> FcosLosses:
    """Focal loss of all locations; IoU loss and centerness loss of the positive ones.

    cls_logits, ltrb, centerness: a [B, C | 4 | 1, H, W] map a level. boxes, labels, offsets, levels
    and rule: see `assign_targets`. loss: None: the preset of the name of `rule`.
    normalize: of (num_pos, centerness_sum), [2], or [B, 2] with a rule of `per_image`, makes what
    the losses are divided by, a constant for the gradient. expected_scale: without effect here.
    Returns float32 (float64 for float64 maps).
    """
    targets = assign_targets(levels, boxes, labels, offsets, rule=rule)
    loss_rule = resolve_loss_rule(loss, rule)
    return losses_of_targets(cls_logits, ltrb, centerness, targets, loss_rule, normalize)


def losses_of_targets(
    cls_logits: Sequence[Tensor],
    ltrb: Sequence[Tensor],
    centerness: Sequence[Tensor],
    targets: Targets,
    rule: LossRule,
    normalize: Callable[[Tensor], Tensor] | None,
) -> FcosLosses:
    """`fcos_loss` behind target assignment: `targets` are those of the maps' locations."""
    real = compute_dtype(*cls_logits, *ltrb, *centerness)
    logits, distances, center_logits = (
        torch.cat([level.permute(0, 2, 3, 1).flatten(1, 2) for level in maps], 1).to(real)
        for maps in (cls_logits, ltrb, centerness)
    )
    positive = targets.labels >= 0
    # What the background predicts does not count, not even a NaN.
    distances = torch.where(positive[..., None], distances, targets.ltrb.to(real))
    weight = targets.centerness if rule.box_weight == "centerness" else torch.ones_like(positive)
    weight = torch.where(positive, weight, 0).to(real)

    matched = targets.matched >= 0
    counts = torch.stack([matched.sum(1).to(real), targets.centerness.to(real).sum(1)], 1)
    num_pos, centerness_sum = totals = counts.sum(0)
    if rule.normalizer == "positives":
        counts = totals
    normalizers = counts if normalize is None else normalize(counts).detach().to(real)
    positives_normalizer = normalizers[..., 0].clamp(min=1)
    centerness_normalizer = normalizers[..., 1].clamp(min=1e-6)

    def reduce(values: Tensor, normalizer: Tensor) -> Tensor:
        of_images = values.flatten(1).sum(1) / normalizer
        return of_images.sum() / (max(len(values), 1) if normalizer.dim() else 1)

    return FcosLosses(
        reduce(
            sigmoid_focal_loss(
                logits, targets.labels, alpha=rule.alpha, gamma=rule.gamma, reduction="none"
            ),
            positives_normalizer,
        ),
        reduce(
            iou_loss(
                distances,
                targets.ltrb.to(real),
                kind=rule.box_loss,
                box_format="ltrb",
                weight=weight,
                reduction="none",
                eps=rule.eps,
            ),
            centerness_normalizer if rule.box_weight == "centerness" else positives_normalizer,
        ),
        reduce(
            centerness_loss(
                center_logits.squeeze(-1),
                targets.centerness,
                labels=targets.labels,
                reduction="none",
            ),
            positives_normalizer,
        ),
        num_pos,
        centerness_sum,
    )
