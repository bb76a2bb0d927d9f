"""Everything that is needed to build a detector again, stored in every checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, get_args

from fcos_ops.presets import (
    ASSIGNMENT_RULES,
    LOSS_RULES,
    POSTPROCESS_RULES,
    AssignmentRule,
    LossRule,
    PostprocessRule,
    resolve_assignment_rule,
    resolve_loss_rule,
    resolve_postprocess_rule,
)

from ..errors import brief
from ..names import NUM_STAGES, BackboneName, ExtraLevels, HeadNormName, NormName
from ..preprocessing import PREPROCESSING, Preprocessing
from .resnet import check_backbone
from .variant import VARIANTS, Variant

MAX_CHANNELS = 1 << 16
MAX_DEPTH = 1000

_OF_PRESET: Any = None  # stands for "as the preset has it" in a field that is never None


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network, what it was trained with, and how it reads images and writes detections.

    Attributes:
        class_names: one name per output channel; "" where it is not known.
        category_ids: the dataset's id of each channel, for result files; None for a channel that
            stands for no category, as torchvision's 0 and the holes in COCO's ids.
        preset: name of the published variant ("paper", "improved", "torchvision", "detectron2",
            "mmdet"), which the rules below follow where they are None. dataclasses.replace keeps
            them, so that another preset wants them set to None as well.
        backbone, norm, norm_eps, stride_in_1x1, backbone_width: see `ResNet`.
        freeze_at: how many stages of the backbone are not trained: 1 is the stem, 2 the stem and
            layer1, up to 5; 0: all are trained.
        width: channels of the pyramid and of the towers, 256 in the published networks.
        depth: convolutions in each tower, 4 in the published networks.
        extra_levels: what P6 is computed from; without effect where there are 3 levels.
        head_norm: of the towers; see `make_head_norm`. Its eps is 1e-5 whatever norm_eps is.
        variant, assignment, loss, postprocess: switches of the head, of the targets, of the losses
            and of the detections. The number of levels is that of assignment.ranges.
        preprocessing: how images are read.
    """

    class_names: tuple[str, ...]
    category_ids: tuple[int | None, ...]
    preset: str = "improved"
    backbone: BackboneName = "resnet50"
    norm: NormName = "bn"
    norm_eps: float = 1e-5
    stride_in_1x1: bool = False
    freeze_at: int = 0
    backbone_width: int = 64
    width: int = 256
    depth: int = 4
    extra_levels: ExtraLevels = "p5"
    head_norm: HeadNormName = "gn"
    variant: Variant = _OF_PRESET
    assignment: AssignmentRule = _OF_PRESET
    loss: LossRule = _OF_PRESET
    postprocess: PostprocessRule = _OF_PRESET
    preprocessing: Preprocessing = _OF_PRESET

    def __post_init__(self) -> None:
        self._check_classes()
        choices = {
            "preset": sorted(VARIANTS),
            "backbone": get_args(BackboneName),
            "norm": get_args(NormName),
            "head_norm": get_args(HeadNormName),
            "extra_levels": get_args(ExtraLevels),
        }
        for name, known in choices.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name} must be one of {list(known)}, got {brief(value)}")
        limits = dict.fromkeys(("backbone_width", "width"), (1, MAX_CHANNELS))
        limits |= {"depth": (1, MAX_DEPTH), "freeze_at": (0, NUM_STAGES)}
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not least <= value <= most:
                raise ValueError(
                    f"{name} must be a whole number from {least} to {most}, got {brief(value)}"
                )
        self._check_norm_eps()
        if not isinstance(self.stride_in_1x1, bool):
            raise ValueError(
                f"stride_in_1x1 must be True or False, got {brief(self.stride_in_1x1)}"
            )
        check_backbone(self.backbone, self.backbone_width, self.stride_in_1x1)
        for name, presets in RULES.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, presets[self.preset])
        self.variant.check()
        resolve_assignment_rule(self.assignment)
        resolve_loss_rule(self.loss, self.assignment)
        resolve_postprocess_rule(self.postprocess)
        self.preprocessing.check()
        if self.num_levels not in (3, 5):
            raise ValueError(f"assignment must have ranges of 3 or 5 levels, got {self.num_levels}")
        if not all(low < high for low, high in self.assignment.ranges):  # NaN is not, either
            raise ValueError(
                "assignment must have ranges from a number to a larger one, "
                f"got {brief(self.assignment.ranges)}"
            )

    def _check_classes(self) -> None:
        for name, expected, is_one in (
            ("class_names", "texts", lambda value: isinstance(value, str)),
            ("category_ids", "whole numbers or None", _is_id),
        ):
            values = getattr(self, name)
            if not isinstance(values, tuple) or not all(map(is_one, values)):
                raise ValueError(f"{name} must be a tuple of {expected}, got {brief(values)}")
        if len(self.class_names) != len(self.category_ids) or not self.class_names:
            raise ValueError(
                "class_names, category_ids must hold one of each per class and at least one class, "
                f"got {len(self.class_names)} and {len(self.category_ids)}"
            )
        ids = [number for number in self.category_ids if number is not None]
        if not ids or len(set(ids)) < len(ids):
            raise ValueError(
                "category_ids must hold at least one whole number, and none twice, "
                f"got {brief(self.category_ids)}"
            )

    def _check_norm_eps(self) -> None:
        # without it torch trains no batch norm, and group norm makes NaN of a constant map
        eps, fixed = self.norm_eps, self.norm == "frozen_bn"
        if not isinstance(eps, int | float) or not 0 <= eps < 1 or (eps == 0 and not fixed):
            least = "at least 0" if fixed else "above 0 with this norm"
            raise ValueError(f"norm_eps must be a number {least} and below 1, got {brief(eps)}")

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def num_levels(self) -> int:
        return len(self.assignment.ranges)

    def category_name(self, channel: int) -> str:
        """The name of a channel's category; "category <id>" where it is not known."""
        return self.class_names[channel] or f"category {self.category_ids[channel]}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, which a checkpoint can hold."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        rules = {name: values[name]._asdict() for name in RULES}
        return {**values, **rules, "preprocessing": self.preprocessing.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """The config that `to_dict` wrote."""
        lists = {name: tuple(values[name]) for name in ("class_names", "category_ids")}
        rules = {name: read(values[name]) for name, read in _READ.items()}
        return cls(**{**values, **lists, **rules})


def _is_id(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _assignment(values: Mapping[str, Any]) -> AssignmentRule:
    ranges = tuple((float(low), float(high)) for low, high in values["ranges"])
    return AssignmentRule(**{**values, "ranges": ranges})


RULES: dict[str, Mapping[str, Any]] = {
    "variant": VARIANTS,
    "assignment": ASSIGNMENT_RULES,
    "loss": LOSS_RULES,
    "postprocess": POSTPROCESS_RULES,
    "preprocessing": PREPROCESSING,
}
_READ: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "variant": lambda values: Variant(**values),
    "assignment": _assignment,
    "loss": lambda values: LossRule(**values),
    "postprocess": lambda values: PostprocessRule(**values),
    "preprocessing": Preprocessing.from_dict,
}
