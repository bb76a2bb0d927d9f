"""Centerness: its target from ltrb distances, and its loss."""

from typing import Any

import torch
from torch import Tensor

from fcos_ops import _checks, _constants, _library, _native, _views, reference
from fcos_ops._loss_op import LossOp, stores_gradient


def centerness_target(ltrb: Tensor) -> Tensor:
    """Centerness of locations inside their boxes.

    sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)): Tian et al., "FCOS" (arXiv 1904.01355),
    equation 3. 0 where a side is <= 0, so on every location outside its box; NaN where one is NaN.

    Args:
        ltrb: [..., 4] distances to the left, top, right and bottom side, in any one unit; float16,
            bfloat16, float32 or float64, any strides.

    Returns:
        [...] in [0, 1], float32 (float64 for float64). Not differentiable.

    Raises:
        TypeError: ltrb is no tensor or has an unsupported dtype.
        ValueError: ltrb has another shape, or requires a gradient.
    """
    _checks.tensor("ltrb", ltrb, _checks.FLOATING)
    _checks.boxes("ltrb", ltrb)
    _checks.no_gradient("ltrb", ltrb)
    if not _native.enabled("centerness_target", ltrb):
        return reference.centerness_target(ltrb)
    return _TARGET_OP(ltrb)


def centerness_loss(
    logits: Tensor,
    target: Tensor,
    *,
    mask: Tensor | None = None,
    labels: Tensor | None = None,
    normalizer: Tensor | float | None = None,
    normalizer_floor: float = 1.0,
    reduction: str = "sum",
) -> Tensor:
    """Binary cross entropy between centerness logits and targets, over the elements that count.

    -(t log p + (1 - t) log(1 - p)) with p = sigmoid(x): Tian et al., "FCOS" (arXiv 1904.01355),
    section 3.2. The maths is float32 (float64 for float64 logits). An infinite logit costs nothing
    where the target is its limit, else infinity; its gradient is p - t as ever.

    Args:
        logits: [...], float16, bfloat16, float32 or float64, any strides.
        target: [...], floats in [0, 1].
        mask: [...] bool: an element counts where it is true.
        labels: [...] int64 or int32, instead of a mask: an element counts where its label is >= 0,
            as `Targets.labels` has it. Where neither is given all elements count. Elsewhere loss
            and gradient are 0, whatever logits and target hold.
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
        ValueError: shapes or devices do not fit, a number is out of range, both mask and labels
            are given, or a tensor other than `logits` requires a gradient.
    """
    _check(logits, target, mask, labels, reduction)
    divisor, normalizer_floor, scale = _checks.normalizer(
        normalizer, normalizer_floor, reduction, "logits", logits
    )
    if not _native.enabled("centerness_loss", logits):
        return reference.centerness_loss(
            logits,
            target,
            mask=mask,
            labels=labels,
            normalizer=normalizer,
            normalizer_floor=normalizer_floor,
            reduction=reduction,
        )
    store = stores_gradient(logits, reduction)
    return _LOSS_OP(
        logits, target, mask, labels, divisor, normalizer_floor, scale, reduction, store
    )[0]


def _check(
    logits: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, reduction: str
) -> None:
    _checks.tensor("logits", logits, _checks.FLOATING)
    _checks.tensor("target", target, _checks.FLOATING)
    shape = logits.shape
    _checks.shape("target", target, shape, "the shape of logits")
    _checks.same_device("target", target, "logits", logits)
    _checks.no_gradient("target", target)
    if mask is not None:
        if labels is not None:
            raise ValueError(
                f"mask must be None where labels are given, got {_checks.describe(mask)}"
            )
        _checks.tensor("mask", mask, (torch.bool,))
        _checks.shape("mask", mask, shape, "the shape of logits")
        _checks.same_device("mask", mask, "logits", logits)
    if labels is not None:
        _checks.tensor("labels", labels, _checks.INTEGER)
        _checks.shape("labels", labels, shape, "the shape of logits")
        _checks.same_device("labels", labels, "logits", logits)
    _checks.choice("reduction", reduction, _constants.WORDS["reduction"])


# ---------------------------------------------------------------------------- torch registration


def _target_kernel(ltrb: Tensor) -> Tensor:
    target = _target_fake(ltrb)
    _native.call("centerness_target", ltrb, _views.level_view("ltrb", ltrb), target)
    return target


def _target_fake(ltrb: Tensor) -> Tensor:
    return _views.empty(ltrb.shape[:-1], _native.compute_dtype(ltrb), ltrb.device)


def _prepare(
    logits: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, *options: Any
) -> tuple[Any, ...]:
    # Spelled out: two calls less where nothing is to be done.
    real = torch.float64 if logits.dtype == torch.float64 else torch.float32
    if not (target.dtype == real and target.is_contiguous() and logits.is_contiguous()):
        logits = _views.contiguous("logits", logits)
        target = _views.contiguous("target", target, real)
    mask = None if mask is None else _views.contiguous("mask", mask)
    labels = None if labels is None else _views.contiguous("labels", labels)
    return logits, target, mask, labels, *options


def _dimensions_to_cut(
    logits: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, *_: Any
) -> int:
    """All, if one of the tensors is copied."""
    tensors = [t for t in (logits, target, mask, labels) if t is not None]
    is_copied = target.dtype != _native.compute_dtype(logits)
    return logits.dim() if is_copied or not all(t.is_contiguous() for t in tensors) else 0


def _empty(logits: Tensor, dtype: torch.dtype) -> Tensor:
    return _views.empty(logits.shape, dtype, logits.device)


_TARGET_OP = _library.Op(
    "centerness_target(Tensor ltrb) -> Tensor", kernel=_target_kernel, fake=_target_fake
)
_LOSS_OP = LossOp(
    "centerness_loss",
    "Tensor logits, Tensor target, Tensor? mask, Tensor? labels, Tensor? normalizer, "
    "float normalizer_floor, float scale, str reduction",
    stores=("store_gradient",),
    prepare=_prepare,
    dimensions_to_cut=_dimensions_to_cut,
    allocate=_empty,
    losses="the shape of logits",
)
