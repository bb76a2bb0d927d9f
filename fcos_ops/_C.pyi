"""The native library as pybind11 binds it: addresses, no checks. See csrc/bindings/arguments.h."""

from collections.abc import Sequence

LevelTuple = tuple[int, int, int, int, int, int, int]

def assign_targets(
    grids: Sequence[int],
    lengths: Sequence[float],
    batch: int,
    boxes: int,
    num_boxes: int,
    box_dtype: int,
    labels: int,
    label_dtype: int,
    offsets: int,
    offset_dtype: int,
    location_offset: float,
    center_radius: float,
    center_region: int,
    range_inclusive: bool,
    area_rule: int,
    max_area: float,
    normalize_ltrb: bool,
    location_labels: int,
    ltrb: int,
    centerness: int,
    matched: int,
    num_pos: int,
    centerness_sum: int,
    workspace: int,
    workspace_size: int,
    device: int,
    stream: int,
    num_threads: int,
) -> None: ...
def assign_targets_workspace_size(
    grids: Sequence[int], lengths: Sequence[float], batch: int, device: int
) -> int: ...
def build_info() -> dict[str, object]: ...
def centerness_target(
    ltrb: Sequence[LevelTuple],
    batch: int,
    dtype: int,
    target: int,
    device: int,
    stream: int,
    num_threads: int,
) -> None: ...
def centerness_loss(
    logits: Sequence[LevelTuple],
    batch: int,
    dtype: int,
    target: int,
    selection: int,
    selection_dtype: int,
    normalizer: int,
    normalizer_dtype: int,
    normalizer_floor: float,
    scale: float,
    gradient_scale: int,
    loss_sum: int,
    losses: int,
    gradient: Sequence[LevelTuple],
    gradient_dtype: int,
    workspace: int,
    workspace_size: int,
    device: int,
    stream: int,
    num_threads: int,
) -> None: ...
def centerness_loss_workspace_size(
    logits: Sequence[LevelTuple], batch: int, device: int
) -> int: ...
def sigmoid_focal_loss(
    logits: Sequence[LevelTuple],
    batch: int,
    num_classes: int,
    dtype: int,
    labels: int,
    label_dtype: int,
    targets: Sequence[LevelTuple],
    weight: int,
    normalizer: int,
    normalizer_dtype: int,
    normalizer_floor: float,
    scale: float,
    gradient_scale: int,
    alpha: float,
    gamma: float,
    loss_sum: int,
    losses: Sequence[LevelTuple],
    gradient: Sequence[LevelTuple],
    gradient_dtype: int,
    workspace: int,
    workspace_size: int,
    device: int,
    stream: int,
    num_threads: int,
) -> None: ...
def sigmoid_focal_loss_workspace_size(
    logits: Sequence[LevelTuple], batch: int, device: int
) -> int: ...
def nms(
    boxes: int,
    box_dtype: int,
    scores: int,
    score_dtype: int,
    num_boxes: int,
    classes: int,
    class_dtype: int,
    offsets: int,
    offset_dtype: int,
    num_images: int,
    iou_threshold: float,
    score_threshold: float,
    max_detections: int,
    keep: int,
    count: int,
    workspace: int,
    workspace_size: int,
    device: int,
    stream: int,
    num_threads: int,
) -> None: ...
def nms_workspace_size(
    box_dtype: int, score_dtype: int, num_boxes: int, num_images: int, device: int
) -> int: ...
def iou_loss(
    pred: Sequence[LevelTuple],
    pred_dtype: int,
    target: Sequence[LevelTuple],
    target_dtype: int,
    batch: int,
    kind: int,
    box_format: int,
    eps: float,
    weight: int,
    normalizer: int,
    normalizer_dtype: int,
    normalizer_floor: float,
    scale: float,
    gradient_scale: int,
    loss_sum: int,
    losses: int,
    gradient: Sequence[LevelTuple],
    gradient_dtype: int,
    workspace: int,
    workspace_size: int,
    device: int,
    stream: int,
    num_threads: int,
) -> None: ...
def iou_loss_workspace_size(pred: Sequence[LevelTuple], batch: int, device: int) -> int: ...
