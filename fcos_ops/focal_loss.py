"""Sigmoid focal loss."""

from typing import Any

from torch import Tensor

from fcos_ops import _checks, _constants, _native, _views, reference
from fcos_ops._loss_op import LossOp, stores_gradient


def sigmoid_focal_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    weight: Tensor | None = None,
    normalizer: Tensor | float | None = None,
    normalizer_floor: float = 1.0,
    reduction: str = "sum",
) -> Tensor:
    """Sigmoid focal loss, from class labels or dense targets.

    With p = sigmoid(x), a positive entry costs alpha (1 - p)^gamma (-log p), a negative one
    (1 - alpha) p^gamma (-log(1 - p)): Lin et al., "Focal Loss for Dense Object Detection" (2017),
    eq. 5. The maths is float32 (float64 for float64 logits); the gradient comes out of the same
    pass over the logits and is finite for every finite logit. An infinite logit that is right costs
    nothing; one that is wrong costs infinity, at the slope of the limit (of a label 1, times alpha
    and weights), or nothing where its weight is 0.

    Args:
        logits: [..., C], float16, bfloat16, float32 or float64, any strides.
        labels: [...], int64 or int32: a class in [0, C), -1 for background, -2 for a row to ignore
            (no loss, no gradient). Any other label makes its row NaN. Or dense targets in [0, 1]:
            floats of the logits' shape.
        alpha: weight of positives, 1 - alpha that of negatives; a negative alpha switches both off.
        gamma: focusing exponent, in [0, 3e38].
        weight: [...], floats; multiplies each row.
        normalizer: number or one-element tensor; the result is divided by
            max(normalizer, normalizer_floor). Pass the number of positives as a tensor: it is not
            read back to the host. A plain number must be neither below the floor nor below 1.2e-38
            (the inverse of a smaller one may not be finite). Not with "mean".
        normalizer_floor: see `normalizer`.
        reduction: "sum"; "mean" over all elements of logits (0 when there are none); "none".

    Returns:
        The loss, float32 (float64 for float64 logits): a scalar, or the logits' shape for "none".
        Only `logits` is differentiable, once.

    Raises:
        TypeError: an argument is no tensor or has an unsupported dtype.
        ValueError: shapes or devices do not fit, a number is out of range, or a tensor other than
            `logits` requires a gradient.
    """
    _check(logits, labels, weight, reduction)
    alpha = _checks.number("alpha", alpha, maximum=1.0)
    gamma = _checks.number("gamma", gamma, 0.0, _constants.MAX_GAMMA)
    divisor, normalizer_floor, scale = _checks.normalizer(
        normalizer, normalizer_floor, reduction, "logits", logits
    )
    if not _native.enabled("sigmoid_focal_loss", logits):
        return reference.sigmoid_focal_loss(
            logits,
            labels,
            alpha=alpha,
            gamma=gamma,
            weight=weight,
            normalizer=normalizer,
            normalizer_floor=normalizer_floor,
            reduction=reduction,
        )
    store = stores_gradient(logits, reduction)
    return _OP(
        logits, labels, weight, divisor, normalizer_floor, scale, alpha, gamma, reduction, store
    )[0]


def _check(logits: Tensor, labels: Tensor, weight: Tensor | None, reduction: str) -> None:
    _checks.tensor("logits", logits, _checks.FLOATING)
    shape = logits.shape
    if not shape:
        raise ValueError(f"logits must have shape [..., C], got {_checks.describe(logits)}")
    _checks.tensor("labels", labels, _checks.FLOATING_OR_INTEGER)
    if labels.is_floating_point():
        _checks.shape("labels", labels, shape, "dense targets have the shape of logits")
        _checks.no_gradient("labels", labels)
    else:
        _checks.shape("labels", labels, shape[:-1], "the shape of logits without classes")
    _checks.same_device("labels", labels, "logits", logits)
    _checks.choice("reduction", reduction, _constants.WORDS["reduction"])
    if weight is not None:
        _checks.tensor("weight", weight, _checks.FLOATING)
        _checks.shape("weight", weight, shape[:-1], "one number a row of logits")
        _checks.same_device("weight", weight, "logits", logits)
        _checks.no_gradient("weight", weight)


# ---------------------------------------------------------------------------- torch registration


def _prepare(
    logits: Tensor, labels: Tensor, weight: Tensor | None, *options: Any
) -> tuple[Any, ...]:
    logits = _views.level_view("logits", logits)
    if labels.is_floating_point():
        labels = _views.cast("labels", labels, _native.compute_dtype(logits))
        if logits.is_contiguous() or _views.needs_copy(labels):
            labels = _views.contiguous("labels", labels)
    else:
        labels = _views.contiguous("labels", labels)
    if weight is not None:
        weight = _views.contiguous("weight", weight, _native.compute_dtype(logits))
    return logits, labels, weight, *options


def _dimensions_to_cut(logits: Tensor, labels: Tensor, weight: Tensor | None, *_: Any) -> int:
    """Those of rows, if one of the tensors lies in memory so that it is copied."""
    if labels.is_floating_point() and not logits.is_contiguous():
        is_copied = _views.needs_copy(labels)
    else:
        is_copied = not labels.is_contiguous()
    is_copied |= _views.needs_copy(logits) or not (weight is None or weight.is_contiguous())
    return logits.dim() - 1 if is_copied else 0


_OP = LossOp(
    "sigmoid_focal_loss",
    "Tensor logits, Tensor labels, Tensor? weight, Tensor? normalizer, float normalizer_floor, "
    "float scale, float alpha, float gamma, str reduction",
    stores=("store_gradient",),
    prepare=_prepare,
    dimensions_to_cut=_dimensions_to_cut,
    allocate=_views.empty_like,
    losses="the shape of logits",
)
