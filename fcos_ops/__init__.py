"""Fused ops for FCOS and other dense one-stage detectors.

Every op here has a plain PyTorch twin of the same name and signature in `fcos_ops.reference`.
"""

import importlib.util
from typing import TYPE_CHECKING

from fcos_ops import _paths
from fcos_ops._paths import get_cmake_dir, get_include, get_library_dir

# C++ programs ask for the paths where there may be no torch.
if importlib.util.find_spec("torch") is not None:
    from fcos_ops import reference
    from fcos_ops._native import backend, build_info
    from fcos_ops.assign_targets import assign_targets
    from fcos_ops.centerness import centerness_loss, centerness_target
    from fcos_ops.fcos_loss import fcos_loss, mean_over_processes
    from fcos_ops.focal_loss import sigmoid_focal_loss
    from fcos_ops.group_norm import group_norm
    from fcos_ops.iou_loss import iou_loss
    from fcos_ops.levels import Level, pyramid_levels
    from fcos_ops.nms import batched_nms, nms, nms_padded
    from fcos_ops.postprocess import postprocess
    from fcos_ops.presets import (
        ASSIGNMENT_RULES,
        LOSS_RULES,
        POSTPROCESS_RULES,
        AssignmentRule,
        LossRule,
        PostprocessRule,
    )
    from fcos_ops.results import Detections, FcosLosses, PaddedKeep, Targets

__version__ = _paths.version()

__all__ = [
    "ASSIGNMENT_RULES",
    "LOSS_RULES",
    "POSTPROCESS_RULES",
    "AssignmentRule",
    "Detections",
    "FcosLosses",
    "Level",
    "LossRule",
    "PaddedKeep",
    "PostprocessRule",
    "Targets",
    "assign_targets",
    "backend",
    "batched_nms",
    "build_info",
    "centerness_loss",
    "centerness_target",
    "fcos_loss",
    "get_cmake_dir",
    "get_include",
    "get_library_dir",
    "group_norm",
    "iou_loss",
    "mean_over_processes",
    "nms",
    "nms_padded",
    "postprocess",
    "pyramid_levels",
    "reference",
    "sigmoid_focal_loss",
]

if not TYPE_CHECKING:  # a checker would take it for a promise of every name

    def __getattr__(name):
        if name in __all__:
            raise ImportError(f"fcos_ops.{name} needs torch, which is not installed")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
