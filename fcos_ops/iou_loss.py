"""IoU losses of box pairs."""

from typing import Any

from torch import Tensor

from fcos_ops import _checks, _constants, _native, _views, reference
from fcos_ops._loss_op import LossOp, stores_gradient


def iou_loss(
    pred: Tensor,
    target: Tensor,
    *,
    kind: str = "giou",
    box_format: str = "xyxy",
    weight: Tensor | None = None,
    normalizer: Tensor | float | None = None,
    normalizer_floor: float = 1e-6,
    reduction: str = "sum",
    eps: float = 1e-7,
) -> Tensor:
    """Loss of each pair of boxes by how they overlap.

    With I and U the areas of intersection and union, C the area and D the diagonal of the smallest
    box around both, d the distance between the centres, and iou = I / (U + eps):

    - "iou": -log(max(iou, eps)) (UnitBox, arXiv 1608.01471);
    - "linear_iou": 1 - iou;
    - "giou": 1 - iou + (C - U) / (C + eps) (arXiv 1902.09630);
    - "diou": 1 - iou + d^2 / (D^2 + eps) (arXiv 1911.08287);
    - "ciou": that + alpha v, where v = 4 / pi^2 (difference of atan(width / height))^2, and
      alpha = v / (1 - iou + v + eps) is a constant for the gradient (the same paper).

    The sides of inverted boxes count as 0. Coordinates are clamped to [-2^33, 2^33]. The maths is
    float32 (float64 if pred or target is); the gradient comes out of the same pass, and with the
    default eps it is finite for every finite box. Where both boxes share an edge, the gradient is
    shared equally. A NaN in a pair makes its loss and all of its gradient NaN.

    Args:
        pred: [..., 4], float16, bfloat16, float32 or float64, any strides; any unit of length.
        target: the same shape, any floating dtype.
        kind: see above.
        box_format: "xyxy", corners; or "ltrb", distances from a location that both boxes have in
            common to their left, top, right and bottom side.
        weight: [...], floats; multiplies the loss of each pair.
        normalizer: number or one-element tensor; the result is divided by
            max(normalizer, normalizer_floor). Pass a sum of weights as a tensor: it is not read
            back to the host. A plain number must be neither below the floor nor below 1.2e-38 (the
            inverse of a smaller one may not be finite). Not with "mean".
        normalizer_floor: see `normalizer`.
        reduction: "sum"; "mean" over all pairs (0 when there are none); "none".
        eps: in [1.2e-38, 3e38], added to denominators.

    Returns:
        The loss, float32 (float64 if pred or target is): a scalar, or [...] for "none". `pred` and
        `target` are differentiable, once.

    Raises:
        TypeError: an argument is no tensor or has an unsupported dtype.
        ValueError: shapes or devices do not fit, a number or word is out of range, or weight or
            normalizer requires a gradient.
    """
    _check(pred, target, kind, box_format, weight, reduction)
    eps = _checks.number("eps", eps, _constants.MIN_IOU_EPS, _constants.MAX_IOU_EPS)
    divisor, normalizer_floor, scale = _checks.normalizer(
        normalizer, normalizer_floor, reduction, "pred", pred
    )
    if not _native.enabled("iou_loss", pred):
        return reference.iou_loss(
            pred,
            target,
            kind=kind,
            box_format=box_format,
            weight=weight,
            normalizer=normalizer,
            normalizer_floor=normalizer_floor,
            reduction=reduction,
            eps=eps,
        )
    return _OP(
        pred,
        target,
        weight,
        divisor,
        normalizer_floor,
        scale,
        kind,
        box_format,
        eps,
        reduction,
        stores_gradient(pred, reduction),
        stores_gradient(target, reduction),
    )[0]


def _check(
    pred: Tensor,
    target: Tensor,
    kind: str,
    box_format: str,
    weight: Tensor | None,
    reduction: str,
) -> None:
    _checks.tensor("pred", pred, _checks.FLOATING)
    _checks.boxes("pred", pred)
    _checks.tensor("target", target, _checks.FLOATING)
    _checks.shape("target", target, pred.shape, "the shape of pred")
    _checks.same_device("target", target, "pred", pred)
    _checks.choice("kind", kind, _constants.WORDS["kind"])
    _checks.choice("box_format", box_format, _constants.WORDS["box_format"])
    _checks.choice("reduction", reduction, _constants.WORDS["reduction"])
    if weight is not None:
        _checks.tensor("weight", weight, _checks.FLOATING)
        _checks.shape("weight", weight, pred.shape[:-1], "one number a box of pred")
        _checks.same_device("weight", weight, "pred", pred)
        _checks.no_gradient("weight", weight)


# ---------------------------------------------------------------------------- torch registration


def _prepare(pred: Tensor, target: Tensor, weight: Tensor | None, *options: Any) -> tuple[Any, ...]:
    if weight is not None:
        weight = _views.contiguous("weight", weight, _native.compute_dtype(pred, target))
    pred, target = _views.level_view("pred", pred), _views.level_view("target", target)
    return pred, target, weight, *options


_OP = LossOp(
    "iou_loss",
    "Tensor pred, Tensor target, Tensor? weight, Tensor? normalizer, float normalizer_floor, "
    "float scale, str kind, str box_format, float eps, str reduction",
    stores=("store_pred", "store_target"),
    prepare=_prepare,
    allocate=_views.empty_like,
    losses="one number a box of pred",
    of_rows=True,
)
