"""What the published FCOS variants do differently in the head and in the losses.

Geometry, assignment and post-processing differ too: fcos_ops.ASSIGNMENT_RULES and
fcos_ops.POSTPROCESS_RULES hold those switches under the same preset names.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Variant(NamedTuple):
    """Switches of the head and of the losses.

    Attributes:
        activation: how a raw regression output becomes a distance: "exp" in pixels, "relu" in units
            of the level's stride.
        scale: a learnable factor per level before the activation.
        centerness_tower: which tower feeds the centerness output.
        box_loss: kind of fcos_ops.iou_loss.
        box_weight: "centerness": each positive weighs its centerness target, divided by their sum.
            "uniform": each weighs 1, divided by the number of positives.
        normalizer: "positives": locations matched in this batch. "moving": their moving average
            (momentum 0.9, starting at 300), for all three losses.
    """

    activation: Literal["exp", "relu"]
    scale: bool
    centerness_tower: Literal["classification", "regression"]
    box_loss: Literal["iou", "linear_iou", "giou", "diou", "ciou"]
    box_weight: Literal["centerness", "uniform"]
    normalizer: Literal["positives", "moving"]


VARIANTS: dict[str, Variant] = {
    "paper": Variant("exp", True, "classification", "iou", "centerness", "positives"),
    "improved": Variant("relu", True, "regression", "giou", "centerness", "positives"),
    "torchvision": Variant("relu", False, "regression", "giou", "uniform", "positives"),
    "detectron2": Variant("relu", False, "regression", "giou", "uniform", "moving"),
    "mmdet": Variant("exp", True, "classification", "iou", "centerness", "positives"),
}
