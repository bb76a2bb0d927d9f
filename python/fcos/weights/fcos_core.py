"""The authors' first code, tianzhi0549/FCOS, whose package is fcos_core.

"paper" and "improved" networks (its configurations `fcos_*` and `fcos_imprv_*`) have weights of the
same names and shapes, so the user has to say which, or the file's name does.

Its training adds 1 to the intersection and the union of each IoU, in the units of its distances.
Detections do not depend on that, and training here does without.
"""

from __future__ import annotations

from fcos_ops import POSTPROCESS_RULES

from ..errors import UserError
from .architecture import architecture
from .colours import CAFFE2_IMAGES, MSRA_BGR_MEAN
from .conversion import Converted, Source, contiguous_categories, finished
from .renaming import RESNET, rename

_FPN = tuple(
    (rf"backbone\.fpn\.fpn_{part}{level + 2}\.(\w+)", rf"backbone.fpn.{part}_blocks.{level}.0.\1")
    for part in ("inner", "layer")
    for level in range(3)
)
_RULES = (
    (r"backbone\.body\.(?:stem\.)?" + RESNET, r"backbone.body.\1"),
    *_FPN,
    (r"backbone\.fpn\.top_blocks\.(p[67]\.\w+)", r"backbone.fpn.extra_blocks.\1"),
    (r"rpn\.head\.cls_tower\.(\d+\.\w+)", r"head.classification_head.conv.\1"),
    (r"rpn\.head\.bbox_tower\.(\d+\.\w+)", r"head.regression_head.conv.\1"),
    (r"rpn\.head\.cls_logits\.(\w+)", r"head.classification_head.cls_logits.\1"),
    (r"rpn\.head\.bbox_pred\.(\w+)", r"head.regression_head.bbox_reg.\1"),
    (r"rpn\.head\.centerness\.(\w+)", r"head.regression_head.bbox_ctrness.\1"),
    (r"rpn\.head\.scales\.(\d)\.scale", r"head.regression_head.scales.\1.scale"),
)
_IMAGES = CAFFE2_IMAGES._replace(rounding="short_side", mean=MSRA_BGR_MEAN, legacy_boxes=True)


def convert(source: Source) -> Converted:
    """See `layouts.convert`."""
    notes: list[str] = []
    preset = _preset(source, notes)
    state = rename(source.state, _RULES)
    found = architecture(state)
    return finished(
        state,
        found,
        contiguous_categories(found.num_classes, source.categories, notes),
        preset,
        notes,
        norm_eps=0.0,
        stride_in_1x1=found.is_bottleneck_resnet,
        postprocess=POSTPROCESS_RULES["paper"],  # the improved networks drop no boxes either
        preprocessing=_IMAGES,
    )


def _preset(source: Source, notes: list[str]) -> str:
    if source.preset is not None:
        return source.preset
    if "imprv" in source.hint.lower():
        notes.append("the preset is taken to be improved: the file's name says imprv")
        return "improved"
    raise UserError(
        "preset must be paper or improved (the configurations fcos_* or fcos_imprv_*) for weights "
        "of fcos_core, which do not tell, got none"
    )
