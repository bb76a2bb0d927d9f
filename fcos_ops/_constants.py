"""Words and limits that csrc/ states, too: tests/test_constants.py compares the two."""

# csrc/bindings/words.h and arguments.cpp, in the order of the enumerators.
IOU_KINDS = ("iou", "linear_iou", "giou", "diou", "ciou")
BOX_FORMATS = ("xyxy", "ltrb")
CENTER_REGIONS = ("clipped", "chebyshev")
AREA_RULES = ("exact", "float32_complement")
BOX_WEIGHTS = ("centerness", "uniform")
ACTIVATIONS = ("none", "relu")
NORMALIZERS = ("positives", "per_image")
THRESHOLD_ON = ("class", "score")
RANK_BY = ("class", "score")
SCORES = ("product", "sqrt")
CLIPS = ("after_nms", "before_nms")
REDUCTIONS = ("none", "sum", "mean")

# csrc/include/fcos_ops/types.h
CPU_DEVICE = -1
MAX_LEVELS = 16

# csrc/ops/checks.h
MAX_SIZE = 2**31 - 2  # cells of a level on one axis
MAX_GAMMA = 3e38
MAX_NORM_EPS = 3e38
MIN_IOU_EPS, MAX_IOU_EPS = 1.2e-38, 3e38  # normal float32 numbers

# csrc/bindings/arguments.cpp
MAX_LOCATIONS = 2**40  # of all levels: what is counted or allocated for each fits 64 bits
