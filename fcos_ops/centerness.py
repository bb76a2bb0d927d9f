"""Centerness: its target from ltrb distances, and its loss."""

from typing import Any

import torch
from torch import Tensor

from fcos_ops import _checks, _library, _native, _views, reference


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
    _checks.no_gradient(ltrb=ltrb)
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
    """Binary cross entropy between centerness logits and targets, over the places that count.

    -(t log p + (1 - t) log(1 - p)) with p = sigmoid(x): Tian et al., "FCOS" (arXiv 1904.01355),
    section 3.2. The maths is float32 (float64 for float64 logits).

    Args:
        logits: [...], float16, bfloat16, float32 or float64, any strides.
        target: [...], floats in [0, 1].
        mask: [...] bool: a place counts where it is true.
        labels: [...] int64 or int32, instead of a mask: a place counts where its label is >= 0, as
            `Targets.labels` has it. Where neither is given all places count. Elsewhere loss and
            gradient are 0, whatever logits and target hold.
        normalizer: number or one-element tensor; the result is divided by
            max(normalizer, normalizer_floor). Pass the number of positives as a tensor: it is not
            read back to the host. A plain number must not be below the floor.
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
    divisor, scale = _checks.normalizer(normalizer, normalizer_floor, reduction, logits)
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
    # As in sigmoid_focal_loss: a float16 gradient waits for its scale.
    recompute = logits.dtype == torch.float16 and reduction != "none"
    store_gradient = logits.requires_grad and torch.is_grad_enabled() and not recompute
    selection = labels if mask is None else mask
    loss, _ = _LOSS_OP(
        logits, target, selection, divisor, normalizer_floor, scale, reduction, store_gradient
    )
    return loss


def _check(
    logits: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, reduction: str
) -> None:
    _checks.tensor("logits", logits, _checks.FLOATING)
    _checks.tensor("target", target, _checks.FLOATING)
    _checks.shape("target", target, logits.shape, "the shape of logits")
    if mask is not None:
        if labels is not None:
            raise ValueError("mask and labels were both given; at most one of them can be")
        _checks.tensor("mask", mask, (torch.bool,))
        _checks.shape("mask", mask, logits.shape, "the shape of logits")
    if labels is not None:
        _checks.tensor("labels", labels, _checks.INTEGER)
        _checks.shape("labels", labels, logits.shape, "the shape of logits")
    _checks.choice("reduction", reduction, _checks.REDUCTIONS)
    _checks.same_device("logits", logits, target=target, mask=mask, labels=labels)
    _checks.no_gradient(target=target)


# ---------------------------------------------------------------------------- torch registration


def _real(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _target_kernel(ltrb: Tensor) -> Tensor:
    target = _target_fake(ltrb)
    if _views.needs_copy(ltrb):
        ltrb = ltrb.contiguous()
    extents = _views.row_extents(ltrb)
    _native.call(
        _native._C.centerness_target,
        _native.place(ltrb),
        [_views.row_view(ltrb, extents)],
        extents[0],
        _native.DTYPE_CODES[ltrb.dtype],
        target,
    )
    return target


def _target_fake(ltrb: Tensor) -> Tensor:
    return ltrb.new_empty(ltrb.shape[:-1], dtype=_real(ltrb.dtype))


def _allocate(logits: Tensor, reduction: str, store_gradient: bool) -> tuple[Tensor, Tensor]:
    """The loss and the gradient, not yet computed; the gradient is empty where not stored."""
    real = _real(logits.dtype)
    loss = logits.new_empty(logits.shape if reduction == "none" else (), dtype=real)
    if not store_gradient:
        return loss, logits.new_empty(0)
    dtype = real if reduction == "none" else logits.dtype
    return loss, logits.new_empty(logits.shape, dtype=dtype)


def _run(
    logits: Tensor,
    target: Tensor,
    selection: Tensor | None,
    normalizer: Tensor | None,
    normalizer_floor: float,
    scale: float,
    reduction: str,
    gradient_scale: Tensor | None,
    loss: Tensor | None,
    gradient: Tensor | None,
) -> None:
    """Fills the outputs that are not None."""
    real = _real(logits.dtype)
    if reduction == "mean":
        scale /= max(logits.numel(), 1)
    rows = logits.contiguous().unsqueeze(-1)
    extents = _views.row_extents(rows)
    view = [_views.row_view(rows, extents)]
    selection = None if selection is None else selection.contiguous()
    where = _native.place(logits)
    size = _native._C.centerness_loss_workspace_size(view, extents[0], where[0])
    _native.call(
        _native._C.centerness_loss,
        where,
        view,
        extents[0],
        _native.DTYPE_CODES[logits.dtype],
        target.to(real).contiguous(),
        selection,
        0 if selection is None else _native.DTYPE_CODES[selection.dtype],
        normalizer,
        0 if normalizer is None else _native.DTYPE_CODES[normalizer.dtype],
        normalizer_floor,
        scale,
        gradient_scale,
        None if reduction == "none" else loss,
        loss if reduction == "none" else None,
        [] if gradient is None else [_views.row_view(gradient.unsqueeze(-1), extents)],
        _native.DTYPE_CODES[real if gradient is None else gradient.dtype],
        torch.empty(size, dtype=torch.uint8, device=logits.device),
        size,
    )


def _kernel(
    logits: Tensor,
    target: Tensor,
    selection: Tensor | None,
    normalizer: Tensor | None,
    normalizer_floor: float,
    scale: float,
    reduction: str,
    store_gradient: bool,
) -> tuple[Tensor, Tensor]:
    loss, gradient = _allocate(logits, reduction, store_gradient)
    _run(
        logits,
        target,
        selection,
        normalizer,
        normalizer_floor,
        scale,
        reduction,
        None,
        loss,
        gradient if store_gradient else None,
    )
    return loss, gradient


def _fake(logits: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    reduction, store_gradient = arguments[-2:]
    return _allocate(logits, reduction, store_gradient)


def _backward_kernel(
    logits: Tensor,
    target: Tensor,
    selection: Tensor | None,
    normalizer: Tensor | None,
    normalizer_floor: float,
    scale: float,
    reduction: str,
    grad_loss: Tensor,
) -> Tensor:
    _, gradient = _allocate(logits, reduction, True)
    _run(
        logits,
        target,
        selection,
        normalizer,
        normalizer_floor,
        scale,
        reduction,
        grad_loss.to(_real(logits.dtype)),
        None,
        gradient,
    )
    return gradient


def _backward_fake(logits: Tensor, *arguments: Any) -> Tensor:
    return _allocate(logits, arguments[-2], True)[1]


class _CenternessLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
        target, selection, normalizer, *options, store_gradient = arguments
        loss, gradient = _LOSS_OP.forward(logits, *arguments)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(gradient)
        ctx.options, ctx.store_gradient, ctx.dtype = options, store_gradient, logits.dtype
        if store_gradient:
            ctx.save_for_backward(gradient)
        else:
            ctx.save_for_backward(logits, target, selection, normalizer)
        return loss, gradient

    @staticmethod
    @_library.differentiable_once
    def backward(ctx: Any, grad_loss: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        if grad_loss is None:
            return (None,) * 8
        if ctx.store_gradient:
            (gradient,) = ctx.saved_tensors
        else:
            gradient = _BACKWARD_OP.forward(*ctx.saved_tensors, *ctx.options, grad_loss)
        if ctx.options[-1] == "none":
            gradient = (gradient * grad_loss).to(ctx.dtype)
        elif ctx.store_gradient:
            gradient = _library.chain(gradient, grad_loss)
        return (gradient, *(None,) * 7)


_LOSS_SCHEMA = (
    "(Tensor logits, Tensor target, Tensor? selection, Tensor? normalizer, "
    "float normalizer_floor, float scale, str reduction, {last}) -> {result}"
)
_TARGET_OP = _library.define(
    "centerness_target(Tensor ltrb) -> Tensor", kernel=_target_kernel, fake=_target_fake
)
_LOSS_OP = _library.define(
    "centerness_loss" + _LOSS_SCHEMA.format(last="bool store_gradient", result="(Tensor, Tensor)"),
    kernel=_kernel,
    fake=_fake,
    autograd=_CenternessLoss,
)
_BACKWARD_OP = _library.define(
    "centerness_loss_backward" + _LOSS_SCHEMA.format(last="Tensor grad_loss", result="Tensor"),
    kernel=_backward_kernel,
    fake=_backward_fake,
)
