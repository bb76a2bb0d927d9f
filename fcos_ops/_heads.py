"""The maps of a head, one a level: what `fcos_loss` and `postprocess` read."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fcos_ops import _checks
from fcos_ops._flat_levels import flatten_levels
from fcos_ops.levels import Level

NAMES = ("cls_logits", "ltrb", "centerness")


def checked_heads(
    cls_logits: Sequence[Tensor],
    ltrb: Sequence[Tensor],
    centerness: Sequence[Tensor],
    levels: Sequence[Level],
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The maps as lists, once it is sure that they are [B, C, H, W], [B, 4, H, W] and [B, 1, H, W]
    for the H, W of each of `levels`, on one device, each head of one floating dtype."""
    flatten_levels(levels)
    for name, head in zip(NAMES, (cls_logits, ltrb, centerness), strict=True):
        _checks.sequence(name, head)
    heads = list(cls_logits), list(ltrb), list(centerness)
    for name, head in zip(NAMES, heads, strict=True):
        if len(head) != len(levels):
            raise ValueError(
                f"{name} must hold one tensor for each of {len(levels)} levels, got {len(head)}"
            )
        _checks.tensor(f"{name}[0]", head[0], _checks.FLOATING)
    first = heads[0][0]
    if first.dim() != 4:
        raise ValueError(
            f"cls_logits[0] must have shape [B, C, H, W], got {_checks.describe(first)}"
        )
    batch, num_classes, device = first.shape[0], first.shape[1], first.device
    for name, head, channels in zip(NAMES, heads, (num_classes, 4, 1), strict=True):
        dtype = head[0].dtype
        for i, (tensor, level) in enumerate(zip(head, levels, strict=True)):
            shape = (batch, channels, level.height, level.width)
            if not (
                isinstance(tensor, Tensor)
                and tensor.dtype == dtype
                and tensor.device == device
                and tensor.layout is torch.strided
                and not tensor.is_nested
                and tensor.shape == shape
            ):
                _checks.tensor(f"{name}[{i}]", tensor, (dtype,))
                _checks.same_device(f"{name}[{i}]", tensor, "cls_logits[0]", first)
                what = "batch, channels, and the size that `levels` gives"
                _checks.shape(f"{name}[{i}]", tensor, shape, what)
    return heads
