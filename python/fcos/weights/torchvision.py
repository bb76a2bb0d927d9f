"""torchvision's fcos_resnet50_fpn, whose names are ours.

Its channels are raw category ids: 0 is the background, and COCO's 91 have holes.
"""

from __future__ import annotations

from ..errors import UserError
from .architecture import architecture
from .coco_classes import COCO_CATEGORIES
from .conversion import Categories, Converted, Source, finished
from .renaming import RESNET, rename

_RULES = (
    (r"backbone\.body\." + RESNET, r"backbone.body.\1"),
    # before torchvision 0.13 a lateral had no number of its own
    (r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)", r"\1.0.\2"),
    (r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d\.0\.(?:weight|bias))", r"\1"),
    (r"(backbone\.fpn\.extra_blocks\.p[67]\.(?:weight|bias))", r"\1"),
    (r"(head\.(?:classification|regression)_head\.conv\.\d+\.(?:weight|bias))", r"\1"),
    (r"(head\.classification_head\.cls_logits\.(?:weight|bias))", r"\1"),
    (r"(head\.regression_head\.bbox_(?:reg|ctrness)\.(?:weight|bias))", r"\1"),
)
_COCO_CHANNELS = 91


def convert(source: Source) -> Converted:
    """See `layouts.convert`."""
    state = rename(source.state, _RULES)
    found = architecture(state)
    notes: list[str] = []
    categories = _categories(found.num_classes, source.categories, notes)
    return finished(state, found, categories, "torchvision", notes)


def _categories(
    count: int, given: Categories | None, notes: list[str]
) -> list[tuple[int | None, str]]:
    if given is None and count == _COCO_CHANNELS:
        given = COCO_CATEGORIES
        notes.append("the 91 channels are taken to be COCO's category ids, with 0 the background")
    if given is None:
        notes.append(
            f"the {count} channels are taken to be category ids 1 to {count - 1} and a background, "
            "without names: no categories were given"
        )
        return [(None, ""), *((channel, "") for channel in range(1, count))]
    names = dict(given)
    if beyond := [number for number in names if not 0 <= number < count]:
        raise UserError(
            f"categories must have ids below {count}, the number of channels, got {beyond[0]}"
        )
    return [(i, names[i]) if i in names else (None, "") for i in range(count)]
