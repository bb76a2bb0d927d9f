"""Fused CPU and CUDA ops for FCOS and other dense one-stage detectors.

Every op here has a plain PyTorch twin of the same name and signature in `fcos_ops.reference`.
"""

from fcos_ops import reference
from fcos_ops._native import backend, build_info
from fcos_ops.focal_loss import sigmoid_focal_loss

__all__ = [
    "backend",
    "build_info",
    "reference",
    "sigmoid_focal_loss",
]
