"""Words and limits that csrc/ states, too: tests/test_constants.py compares the two."""

_IOU_KINDS = ("iou", "linear_iou", "giou", "diou", "ciou")

# csrc/bindings/words.h and arguments.cpp, in the order of the enumerators, by the name of the
# argument or of the field of a rule.
WORDS = {
    "activation": ("none", "relu"),
    "area_rule": ("exact", "float32_complement"),
    "box_format": ("xyxy", "ltrb"),
    "box_loss": _IOU_KINDS,
    "box_weight": ("centerness", "uniform"),
    "center_region": ("clipped", "chebyshev"),
    "clip": ("after_nms", "before_nms"),
    "kind": _IOU_KINDS,
    "normalizer": ("positives", "per_image"),
    "rank_by": ("class", "score"),
    "reduction": ("none", "sum", "mean"),
    "score": ("product", "sqrt"),
    "threshold_on": ("class", "score"),
}

# csrc/include/fcos_ops/types.h
CPU_DEVICE = -1
MAX_LEVELS = 16

# csrc/ops/checks.h
MAX_SIZE = 2**31 - 2  # cells of a level on one axis
MAX_GAMMA = 3e38
MAX_NORM_EPS = 3e38
MIN_IOU_EPS, MAX_IOU_EPS = 1.2e-38, 3e38  # normal float32 numbers

# csrc/bindings/arguments.h
MAX_LOCATIONS = 2**40  # of all levels: what is counted or allocated for each fits 64 bits
