"""What every converter is given, what it returns, and the steps that all of them share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from fcos_ops import ASSIGNMENT_RULES, AssignmentRule

from ..errors import UserError, brief
from ..models.config import ModelConfig
from ..models.variant import VARIANTS
from .architecture import Architecture
from .coco_classes import COCO_CATEGORIES

Categories = Sequence[tuple[int, str]]  # (id, name) in the order of the annotation file


class Source(NamedTuple):
    """A file's weights, and what else is known of them.

    Attributes:
        state: tensors under the file's names.
        meta: all that the file holds, which nobody has checked.
        preset: what the user says, None where the converter has to find out.
        categories: of the data set that the network was trained on; None: not given.
        hint: the file's name, which may tell what its weights do not.
    """

    state: Mapping[str, Tensor]
    meta: Mapping[str, Any]
    preset: str | None = None
    categories: Categories | None = None
    hint: str = ""


class Converted(NamedTuple):
    """Weights under our names, the network that they belong to, and what was assumed, not read."""

    state: dict[str, Tensor]
    config: ModelConfig
    notes: list[str]


def finished(
    state: dict[str, Tensor],
    found: Architecture,
    categories: Sequence[tuple[int | None, str]],
    preset: str,
    notes: list[str],
    **fields: Any,
) -> Converted:
    """The config of a network whose other fields follow its weights and its preset."""
    values = found._asdict()
    shape = {name: values.pop(name) for name in ("num_classes", "num_levels", "scale", "conv_bias")}
    variant = VARIANTS[preset]._replace(scale=shape["scale"], conv_bias=shape["conv_bias"])
    assignment = with_levels(ASSIGNMENT_RULES[preset], shape["num_levels"])
    if values["norm"] == "frozen_bn":
        values["freeze_at"] = 2  # in every published network: the stem and layer1
    config = ModelConfig(
        class_names=tuple(name for _, name in categories),
        category_ids=tuple(number for number, _ in categories),
        preset=preset,
        **{"variant": variant, "assignment": assignment, **values, **fields},
    )
    return Converted(state, config, notes)


def with_levels(rule: AssignmentRule, levels: int) -> AssignmentRule:
    """The rule for the first levels of the pyramid, the last of which takes all larger boxes."""
    if levels == len(rule.ranges):
        return rule
    kept = rule.ranges[:levels]
    return rule._replace(ranges=(*kept[:-1], (kept[-1][0], rule.ranges[-1][1])))


def contiguous_categories(
    count: int, given: Categories | None, notes: list[str]
) -> list[tuple[int, str]]:
    """A category for each of `count` channels: those given, in their order, or COCO's 80.

    Raises:
        UserError: not as many, or another number than 80 and none given.
    """
    if given is None:
        if count != len(COCO_CATEGORIES):
            raise UserError(
                f"categories must be given for a network of {count} classes: "
                "--categories FILE, the annotation file that it was trained with"
            )
        notes.append("the 80 classes are taken to be COCO's, in the order of their ids")
        return list(COCO_CATEGORIES)
    if len(given) != count:
        raise UserError(
            f"categories must be one for each of {count} classes, got {len(given)}, "
            f"of which the first is {brief(tuple(given[0]) if given else None)}"
        )
    return list(given)
