"""What the published FCOS variants do differently in the head and from step to step.

Geometry, assignment, losses and post-processing differ too: fcos_ops.ASSIGNMENT_RULES, LOSS_RULES
and POSTPROCESS_RULES hold those switches under the same preset names, and PREPROCESSING how images
are resized.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args, get_type_hints

from ..errors import brief


class Variant(NamedTuple):
    """Switches of the head, and what the losses are divided by.

    Attributes:
        activation: how a raw regression output becomes a distance: "exp" in pixels, "relu" in units
            of the level's stride.
        scale: a learnable factor per level before the activation.
        centerness_tower: which tower feeds the centerness output.
        normalizer: what losses are divided by: "global": counts of this batch, averaged over the
            processes of a distributed run. "local": those of this process. "moving": the moving
            average of its positives (momentum 0.9, starting at 300), for all three losses.
        conv_bias: whether the convolutions of the towers have a bias.
    """

    activation: Literal["exp", "relu"]
    scale: bool
    centerness_tower: Literal["classification", "regression"]
    normalizer: Literal["global", "local", "moving"]
    conv_bias: bool = True

    def check(self) -> None:
        """ValueError where a field is none of the above."""
        for name, kind in get_type_hints(Variant).items():
            known = get_args(kind) or (True, False)
            if (value := getattr(self, name)) not in known:
                raise ValueError(
                    f"variant: {name} must be one of {list(known)}, got {brief(value)}"
                )


VARIANTS: dict[str, Variant] = {
    "paper": Variant("exp", True, "classification", "global"),
    "improved": Variant("relu", True, "regression", "global"),
    "torchvision": Variant("relu", False, "regression", "local"),
    "detectron2": Variant("relu", False, "regression", "moving"),
    "mmdet": Variant("exp", True, "classification", "global", conv_bias=False),
}
