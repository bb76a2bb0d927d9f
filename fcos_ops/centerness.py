"""Centerness: its target from ltrb distances, and its loss."""

from typing import Any

import torch
from torch import Tensor

from fcos_ops import _checks, _constants, _library, _native, _views, reference


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
    # As in sigmoid_focal_loss: a float16 gradient waits for its scale.
    store_gradient = (
        logits.requires_grad
        and torch.is_grad_enabled()
        and (logits.dtype != torch.float16 or reduction == "none")
    )
    loss, *_ = _LOSS_OP(
        logits, target, mask, labels, divisor, normalizer_floor, scale, reduction, store_gradient
    )
    return loss


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
    _checks.choice("reduction", reduction, _constants.REDUCTIONS)


# ---------------------------------------------------------------------------- torch registration


def _target_kernel(ltrb: Tensor) -> Tensor:
    target = _target_fake(ltrb)
    if _views.needs_copy(ltrb):
        ltrb = _views.contiguous("ltrb", ltrb)
    _native.call("centerness_target", ltrb, ltrb, target)
    return target


def _target_fake(ltrb: Tensor) -> Tensor:
    return _views.empty(ltrb.shape[:-1], _native.compute_dtype(ltrb), ltrb.device)


def _allocate_gradient(logits: Tensor, reduction: str) -> Tensor:
    dtype = _native.compute_dtype(logits) if reduction == "none" else logits.dtype
    return _views.empty(logits.shape, dtype, logits.device)


def _allocate(logits: Tensor, reduction: str, store_gradient: bool) -> tuple[Tensor, list[Tensor]]:
    """The loss and, if it is to be stored, the gradient, not yet computed."""
    shape = logits.shape if reduction == "none" else ()
    loss = _views.empty(shape, _native.compute_dtype(logits), logits.device)
    return loss, [_allocate_gradient(logits, reduction)] if store_gradient else []


def _run(
    gradient_scale: Tensor | None,
    loss: Tensor | None,
    gradient: Tensor | None,
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    labels: Tensor | None,
    normalizer: Tensor | None,
    normalizer_floor: float,
    scale: float,
    reduction: str,
) -> None:
    """Fills the outputs that are not None."""
    if not (
        target.dtype == (torch.float64 if logits.dtype == torch.float64 else torch.float32)
        and logits.is_contiguous()
        and target.is_contiguous()
        and (mask is None or mask.is_contiguous())
        and (labels is None or labels.is_contiguous())
    ):
        inputs = (logits, target, mask, labels)
        options = (normalizer, normalizer_floor, scale, reduction)
        _run_copies(gradient_scale, loss, gradient, inputs, *options)
        return
    _native.call(
        "centerness_loss",
        logits,
        logits,
        target,
        mask,
        labels,
        normalizer,
        normalizer_floor,
        scale,
        reduction,
        gradient_scale,
        loss,
        gradient,
    )


def _run_copies(
    gradient_scale: Tensor | None,
    loss: Tensor | None,
    gradient: Tensor | None,
    inputs: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
    normalizer: Tensor | None,
    normalizer_floor: float,
    scale: float,
    reduction: str,
) -> None:
    """`_run` on copies of the inputs, chunk by chunk where they would be large."""
    logits, target, mask, labels = inputs
    if reduction == "mean":
        scale, reduction = scale / max(logits.numel(), 1), "sum"
    options = (normalizer, normalizer_floor, scale, reduction)
    is_sum = reduction == "sum"
    chunks = _views.chunks((*inputs, None if is_sum else loss, gradient), logits.dim())
    if len(chunks) > 1:
        with _views.sum_of_chunks(loss if is_sum else None, len(chunks)) as sums:
            for (*chunk, each_loss, each_grad), chunk_sum in zip(chunks, sums, strict=True):
                each_loss = chunk_sum if is_sum else each_loss
                _run(gradient_scale, each_loss, each_grad, *[*chunk, *options])
        return
    _run(
        gradient_scale,
        loss,
        gradient,
        _views.contiguous("logits", logits),
        _views.contiguous("target", _views.cast("target", target, _native.compute_dtype(logits))),
        None if mask is None else _views.contiguous("mask", mask),
        None if labels is None else _views.contiguous("labels", labels),
        *options,
    )


def _kernel(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    labels: Tensor | None,
    normalizer: Tensor | None,
    normalizer_floor: float,
    scale: float,
    reduction: str,
    store_gradient: bool,
) -> tuple[Tensor, list[Tensor]]:
    loss, gradients = _allocate(logits, reduction, store_gradient)
    gradient = gradients[0] if store_gradient else None
    inputs = (logits, target, mask, labels, normalizer, normalizer_floor, scale, reduction)
    _run(None, loss, gradient, *inputs)
    return loss, gradients


def _fake(logits: Tensor, *arguments: Any) -> tuple[Tensor, list[Tensor]]:
    reduction, store_gradient = arguments[-2:]
    return _allocate(logits, reduction, store_gradient)


def _backward_kernel(*arguments: Any) -> Tensor:
    *inputs, grad_loss = arguments
    logits, reduction = inputs[0], inputs[-1]
    gradient = _allocate_gradient(logits, reduction)
    if reduction == "none":
        _checks.shape("grad_loss", grad_loss, logits.shape, "the shape of logits")
        _run(None, None, gradient, *inputs)
        return gradient.mul_(grad_loss)
    grad_loss = _views.cast("grad_loss", grad_loss, _native.compute_dtype(logits))
    _run(grad_loss, None, gradient, *inputs)
    return gradient


def _backward_fake(logits: Tensor, *arguments: Any) -> Tensor:
    return _allocate_gradient(logits, arguments[-2])


class _CenternessLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, *arguments: Any
    ) -> tuple[Tensor, list[Tensor], Tensor | None]:
        target, mask, labels, normalizer, *options, store_gradient = arguments
        loss, gradients = _LOSS_OP.forward(logits, *arguments)
        ctx.options = options
        saved = gradients if store_gradient else (logits, target, mask, labels, normalizer)
        return loss, gradients, _library.save(ctx, logits, *saved)

    @staticmethod
    @_library.differentiable_once
    def backward(ctx: Any, grad_loss: Tensor, *_: None) -> tuple[Tensor | None, ...]:
        if grad_loss is None:
            return (None, *_NO_GRADIENTS)
        _, gradient, *others = ctx.saved_tensors
        if others:
            gradient = _BACKWARD_OP.forward(gradient, *others, *ctx.options, grad_loss)
        elif ctx.options[-1] == "none":
            gradient = gradient * grad_loss  # torch casts it to the dtype of its tensor
        else:
            gradient = _library.scale_gradient(ctx, gradient, grad_loss)
        return (gradient, *_NO_GRADIENTS)


_NO_GRADIENTS = (None,) * 8  # of the arguments behind logits

_LOSS_SCHEMA = (
    "(Tensor logits, Tensor target, Tensor? mask, Tensor? labels, Tensor? normalizer, "
    "float normalizer_floor, float scale, str reduction, {last}) -> {result}"
)
_TARGET_OP = _library.define(
    "centerness_target(Tensor ltrb) -> Tensor", kernel=_target_kernel, fake=_target_fake
)
_LOSS_OP = _library.define(
    "centerness_loss"
    + _LOSS_SCHEMA.format(last="bool store_gradient", result="(Tensor, Tensor[])"),
    kernel=_kernel,
    fake=_fake,
    autograd=_CenternessLoss,
)
_BACKWARD_OP = _library.define(
    "centerness_loss_backward" + _LOSS_SCHEMA.format(last="Tensor grad_loss", result="Tensor"),
    kernel=_backward_kernel,
    fake=_backward_fake,
)
