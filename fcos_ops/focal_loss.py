"""Sigmoid focal loss."""

from typing import Any

import torch
from torch import Tensor

from fcos_ops import _checks, _constants, _library, _native, _views, reference


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
    # A float16 gradient is recomputed in the backward pass, when its scale is known: without the
    # loss scale most of it would flush to zero.
    store_gradient = (
        logits.requires_grad
        and torch.is_grad_enabled()
        and (logits.dtype != torch.float16 or reduction == "none")
    )
    loss, *_ = _OP(
        logits,
        labels,
        weight,
        divisor,
        normalizer_floor,
        scale,
        alpha,
        gamma,
        reduction,
        store_gradient,
    )
    return loss


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
    _checks.choice("reduction", reduction, _constants.REDUCTIONS)
    if weight is not None:
        _checks.tensor("weight", weight, _checks.FLOATING)
        _checks.shape("weight", weight, shape[:-1], "one number a row of logits")
        _checks.same_device("weight", weight, "logits", logits)
        _checks.no_gradient("weight", weight)


# ---------------------------------------------------------------------------- torch registration

_SCHEMA = (
    "(Tensor logits, Tensor labels, Tensor? weight, Tensor? normalizer, float normalizer_floor, "
    "float scale, float alpha, float gamma, str reduction, {last}) -> {result}"
)


def _allocate_like(logits: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor of the shape of logits, in their layout if one level view can cover that."""
    layout = torch.contiguous_format if _views.needs_copy(logits) else torch.preserve_format
    return torch.empty_like(logits, dtype=dtype, memory_format=layout)


def _allocate_gradient(logits: Tensor, reduction: str) -> Tensor:
    dtype = _native.compute_dtype(logits) if reduction == "none" else logits.dtype
    return _allocate_like(logits, dtype)


def _allocate(logits: Tensor, reduction: str, store_gradient: bool) -> tuple[Tensor, list[Tensor]]:
    """The loss and, if it is to be stored, the gradient, not yet computed."""
    real = _native.compute_dtype(logits)
    if reduction == "none":
        loss = _allocate_like(logits, real)
    else:
        loss = _views.empty((), real, logits.device)
    return loss, [_allocate_gradient(logits, reduction)] if store_gradient else []


def _run(
    gradient_scale: Tensor | None,
    loss: Tensor | None,
    gradient: Tensor | None,
    logits: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    normalizer: Tensor | None,
    normalizer_floor: float,
    scale: float,
    alpha: float,
    gamma: float,
    reduction: str,
) -> None:
    """Fills the outputs that are not None, which are laid out for one level view."""
    if logits.numel() > _views.CHUNK_SIZE and _is_copied(logits, labels, weight):
        if reduction == "mean":
            scale, reduction = scale / logits.numel(), "sum"
        options = (normalizer, normalizer_floor, scale, alpha, gamma, reduction)
        is_sum = reduction == "sum"
        inputs = (logits, labels, weight, None if is_sum else loss, gradient)
        chunks = _views.chunks(inputs, logits.dim() - 1)
        if len(chunks) > 1:
            with _views.sum_of_chunks(loss if is_sum else None, len(chunks)) as sums:
                for (*chunk, each_loss, each_grad), chunk_sum in zip(chunks, sums, strict=True):
                    each_loss = chunk_sum if is_sum else each_loss
                    _run(gradient_scale, each_loss, each_grad, *[*chunk, *options])
            return
    real = _native.compute_dtype(logits)
    if _views.needs_copy(logits):
        logits = _views.contiguous("logits", logits)
    if labels.is_floating_point():
        labels = _views.cast("labels", labels, real)
        if logits.is_contiguous() or _views.needs_copy(labels):
            labels = _views.contiguous("labels", labels)
    else:
        labels = _views.contiguous("labels", labels)
    if weight is not None:
        weight = _views.contiguous("weight", _views.cast("weight", weight, real))
    _native.call(
        "sigmoid_focal_loss",
        logits,
        logits,
        labels,
        weight,
        normalizer,
        normalizer_floor,
        scale,
        reduction,
        gradient_scale,
        alpha,
        gamma,
        loss,
        gradient,
    )


def _is_copied(logits: Tensor, labels: Tensor, weight: Tensor | None) -> bool:
    """Whether one of them lies in memory so that it is copied."""
    if _views.needs_copy(logits) or not (weight is None or weight.is_contiguous()):
        return True
    if labels.is_floating_point() and not logits.is_contiguous():
        return _views.needs_copy(labels)
    return not labels.is_contiguous()


def _kernel(*arguments: Any) -> tuple[Tensor, list[Tensor]]:
    *inputs, store_gradient = arguments
    loss, gradients = _allocate(inputs[0], inputs[-1], store_gradient)
    _run(None, loss, gradients[0] if store_gradient else None, *inputs)
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


class _SigmoidFocalLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, *arguments: Any
    ) -> tuple[Tensor, list[Tensor], Tensor | None]:
        labels, weight, normalizer, *options, store_gradient = arguments
        loss, gradients = _OP.forward(logits, *arguments)
        ctx.options = options
        saved = gradients if store_gradient else (logits, labels, weight, normalizer)
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


_NO_GRADIENTS = (None,) * 9  # of the arguments behind logits

_OP = _library.define(
    "sigmoid_focal_loss" + _SCHEMA.format(last="bool store_gradient", result="(Tensor, Tensor[])"),
    kernel=_kernel,
    fake=_fake,
    autograd=_SigmoidFocalLoss,
)
_BACKWARD_OP = _library.define(
    "sigmoid_focal_loss_backward" + _SCHEMA.format(last="Tensor grad_loss", result="Tensor"),
    kernel=_backward_kernel,
    fake=_backward_fake,
)
