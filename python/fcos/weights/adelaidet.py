"""The authors' second code, AdelaiDet, on detectron2's backbones.

Networks that were trained with the IoU as their measure of a box's quality have it in place of the
centerness, and detect alike.
"""

from __future__ import annotations

from fcos_ops import POSTPROCESS_RULES

from .architecture import architecture
from .conversion import Converted, Source, finished
from .detectron2 import BACKBONE_RULES, IGNORED, by_id, images
from .renaming import rename

_PREFIX = r"proposal_generator\.fcos_head\."
_HEAD = (
    (_PREFIX + r"cls_tower\.((?:\d+\.)+\w+)", r"head.classification_head.conv.\1"),
    (_PREFIX + r"bbox_tower\.((?:\d+\.)+\w+)", r"head.regression_head.conv.\1"),
    (_PREFIX + r"cls_logits\.(\w+)", r"head.classification_head.cls_logits.\1"),
    (_PREFIX + r"bbox_pred\.(\w+)", r"head.regression_head.bbox_reg.\1"),
    # its tool that converts weights of fcos_core leaves their name, centerness
    (_PREFIX + r"(?:ctrness|centerness)\.(\w+)", r"head.regression_head.bbox_ctrness.\1"),
    (_PREFIX + r"scales\.(\d)\.scale", r"head.regression_head.scales.\1.scale"),
)


def convert(source: Source) -> Converted:
    """See `layouts.convert`."""
    notes: list[str] = []
    state = rename(source.state, (*BACKBONE_RULES, *_HEAD), IGNORED)
    found = architecture(state)
    preprocessing = images(source.state, found.backbone, notes)
    if found.num_levels == 3:
        preprocessing = preprocessing._replace(size=512, max_size=736)
        notes.append("images are resized to 512 x 736, as published for networks of three levels")
    if any("fcos_head.centerness." in name for name in source.state):
        notes.append(
            "these weights came from fcos_core, whose batch norm and colours differ a little: "
            "convert the original file to detect exactly as there"
        )
    return finished(
        state,
        found,
        by_id(found.num_classes, source, notes),
        "improved",
        notes,
        stride_in_1x1=found.is_bottleneck_resnet,
        freeze_at=2,
        postprocess=POSTPROCESS_RULES["improved"]._replace(clip="after_nms"),
        preprocessing=preprocessing,
    )
