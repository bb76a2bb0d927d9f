"""The layouts of weights that can be converted: who wrote a file, by the names in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from ..errors import UserError, a_few, brief
from . import adelaidet, detectron2, fcos_core, mmdetection, torchvision
from .conversion import Categories, Converted, Source


class Layout(NamedTuple):
    """One program's files of weights.

    Attributes:
        marks: names of which no other layout has one.
        presets: those that its networks can be of.
        convert: raises UserError where the network is not implemented here.
    """

    marks: tuple[str, ...]
    presets: tuple[str, ...]
    convert: Callable[[Source], Converted]

    def recognises(self, state: Mapping[str, Tensor]) -> bool:
        return any(mark in state for mark in self.marks)


LAYOUTS: dict[str, Layout] = {
    "torchvision": Layout(
        ("head.classification_head.cls_logits.weight",), ("torchvision",), torchvision.convert
    ),
    "fcos_core": Layout(("rpn.head.centerness.weight",), ("paper", "improved"), fcos_core.convert),
    "adelaidet": Layout(
        ("proposal_generator.fcos_head.cls_logits.weight",), ("improved",), adelaidet.convert
    ),
    "detectron2": Layout(("head.ctrness.weight",), ("detectron2",), detectron2.convert),
    "mmdetection": Layout(
        ("bbox_head.conv_centerness.weight", "bbox_head.fcos_centerness.weight"),
        ("mmdet", "improved"),
        mmdetection.convert,
    ),
}


def recognise(state: Mapping[str, Tensor]) -> str:
    """The name of the layout of these weights.

    Raises:
        UserError: of none of those known.
    """
    for name, layout in LAYOUTS.items():
        if layout.recognises(state):
            return name
    raise UserError(
        f"weights must be an FCOS of {', '.join(LAYOUTS)}, got {len(state)} tensors: {a_few(state)}"
    )


def convert(
    state: Mapping[str, Tensor],
    meta: Mapping[str, Any] | None = None,
    *,
    layout: str | None = None,
    preset: str | None = None,
    categories: Categories | None = None,
    hint: str = "",
) -> Converted:
    """Weights of another program under our names, and the config of their network.

    Args:
        state: tensors under the names of the file, without the prefix of a wrapper.
        meta: all that the file holds, the weights among it. Nothing in it is trusted.
        layout: a name of `LAYOUTS`; None: it is recognised by the names.
        preset: which variant the network is, where its layout has several; None: the file tells.
        categories: (id, name) of every category in the annotation file that the network was trained
            with, in the order of that file. None: as the file of weights has them, else COCO's.
        hint: the name of the file, which may tell the preset.

    Raises:
        UserError: the layout or the network is not known, or something has to be given.
    """
    name = recognise(state) if layout is None else layout
    if name not in LAYOUTS:
        raise UserError(f"layout must be one of {', '.join(LAYOUTS)}, got {brief(name)}")
    chosen = LAYOUTS[name]
    if preset is not None and preset not in chosen.presets:
        raise UserError(
            f"preset must be {' or '.join(chosen.presets)} for weights of {name}, "
            f"got {brief(preset)}"
        )
    return chosen.convert(Source(state, meta or {}, preset, categories, hint))
