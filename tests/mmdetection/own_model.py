"""mmdetection's own FCOS, built from the configs that its wheel brings.

mmcv's compiled ops take long to build. FCOS at evaluation calls one of them, nms, which is stated
here; the others are only looked up when mmdet is imported.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class _CompiledOps(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    x1, y1, x2, y2 = boxes.unbind(1)
    areas = (x2 - x1 + offset) * (y2 - y1 + offset)
    left = torch.ones(len(boxes), dtype=torch.bool)
    kept = []
    for best in scores.argsort(descending=True, stable=True).tolist():
        if left[best]:
            kept.append(best)
            width = torch.minimum(x2, x2[best]) - torch.maximum(x1, x1[best]) + offset
            height = torch.minimum(y2, y2[best]) - torch.maximum(y1, y1[best]) + offset
            shared = width.clamp(min=0) * height.clamp(min=0)
            left &= shared <= iou_threshold * (areas + areas[best] - shared)
    return torch.tensor(kept, dtype=torch.int64)


def import_mmdet() -> Any:
    """The package; ImportError where it is not installed."""
    import mmcv  # noqa: F401

    ops = _CompiledOps("mmcv._ext")
    ops.nms = _nms  # type: ignore[attr-defined]
    sys.modules.setdefault("mmcv._ext", ops)
    import mmdet
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=True)
    return mmdet


def thin_config(name: str, classes: int) -> Any:
    """A config of its wheel, with fewer channels and classes."""
    import mmdet
    from mmengine.config import Config

    config = Config.fromfile(Path(mmdet.__file__).parent / ".mim/configs/fcos" / name)
    model = config.model
    model.backbone.init_cfg = None
    model.backbone.base_channels = 8
    expansion = 1 if model.backbone.depth < 50 else 4
    model.neck.in_channels = [8 * expansion << stage for stage in range(4)]
    model.neck.out_channels = model.bbox_head.in_channels = model.bbox_head.feat_channels = 128
    model.bbox_head.stacked_convs = 2
    model.bbox_head.num_classes = classes
    return config


def random_model(config: Any) -> torch.nn.Module:
    """In evaluation mode, with values in every tensor that tell it from a new one's."""
    from mmdet.registry import MODELS

    torch.manual_seed(0)
    model = MODELS.build(config.model).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith(("bn1.weight", "bn2.weight", "bn3.weight", "running_var", ".scale")):
                tensor.uniform_(0.7, 1.4)
            elif name.endswith(("gn.weight", "gn.bias", "running_mean", "conv.bias")):
                tensor.uniform_(-0.5, 0.5)
            elif name.startswith("bbox_head.conv_"):
                tensor.uniform_(-0.1, 0.1)
    return model
