"""Every op in plain PyTorch, with the signature of the public function of the same name.

Readable first, without custom autograd: the oracle of every test (in float64), the fallback where
no native library was built, and the baseline of the benchmarks. These functions do not validate
their arguments; the public ones do, and make plain floats and ints of the numbers among them.
In float32, gamma times a loss beyond 3e38 overflows, and the gradient with it (gamma 3e38, logit
100), where the native library's is finite.
"""

from .assign_targets import assign_targets
from .centerness import centerness_loss, centerness_target
from .fcos_loss import fcos_loss
from .focal_loss import sigmoid_focal_loss
from .group_norm import group_norm
from .iou_loss import iou_loss
from .nms import batched_nms, nms, nms_padded
from .postprocess import postprocess

__all__ = [
    "assign_targets",
    "batched_nms",
    "centerness_loss",
    "centerness_target",
    "fcos_loss",
    "group_norm",
    "iou_loss",
    "nms",
    "nms_padded",
    "postprocess",
    "sigmoid_focal_loss",
]
