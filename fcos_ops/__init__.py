"""Fused ops for FCOS and other dense one-stage detectors.

Every op here has a plain PyTorch twin of the same name and signature in `fcos_ops.reference`.
"""

from fcos_ops import reference
from fcos_ops._native import backend, build_info
from fcos_ops._paths import get_cmake_dir, get_include, get_library_dir
from fcos_ops.assign_targets import assign_targets
from fcos_ops.centerness import centerness_loss, centerness_target
from fcos_ops.fcos_loss import fcos_loss, mean_over_processes
from fcos_ops.focal_loss import sigmoid_focal_loss
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
    "iou_loss",
    "mean_over_processes",
    "nms",
    "nms_padded",
    "postprocess",
    "pyramid_levels",
    "reference",
    "sigmoid_focal_loss",
]
