"""IoU losses of box pairs."""

from typing import Any

import torch
from torch import Tensor

from fcos_ops import _checks, _constants, _library, _native, _views, reference


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
    store_pred = store_target = False
    if torch.is_grad_enabled():
        store_pred = _stores_gradient(pred, reduction)
        store_target = _stores_gradient(target, reduction)
    loss, *_ = _OP(
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
        store_pred,
        store_target,
    )
    return loss


def _stores_gradient(boxes: Tensor, reduction: str) -> bool:
    """Whether the forward pass shall keep the gradient by `boxes`.

    A float16 gradient is recomputed in the backward pass, when its scale is known: without the loss
    scale most of it would flush to zero.
    """
    return boxes.requires_grad and (boxes.dtype != torch.float16 or reduction == "none")


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
    _checks.choice("kind", kind, _constants.IOU_KINDS)
    _checks.choice("box_format", box_format, _constants.BOX_FORMATS)
    _checks.choice("reduction", reduction, _constants.REDUCTIONS)
    if weight is not None:
        _checks.tensor("weight", weight, _checks.FLOATING)
        _checks.shape("weight", weight, pred.shape[:-1], "one number a box of pred")
        _checks.same_device("weight", weight, "pred", pred)
        _checks.no_gradient("weight", weight)


# ---------------------------------------------------------------------------- torch registration

_SCHEMA = (
    "(Tensor pred, Tensor target, Tensor? weight, Tensor? normalizer, float normalizer_floor, "
    "float scale, str kind, str box_format, float eps, str reduction, {last}) -> {result}"
)


def _allocate_loss(pred: Tensor, target: Tensor, reduction: str) -> Tensor:
    shape = pred.shape[:-1] if reduction == "none" else ()
    return _views.empty(shape, _native.compute_dtype(pred, target), pred.device)


def _allocate_gradient(boxes: Tensor, other: Tensor, reduction: str) -> Tensor:
    dtype = _native.compute_dtype(boxes, other) if reduction == "none" else boxes.dtype
    layout = torch.contiguous_format if _views.needs_copy(boxes) else torch.preserve_format
    return torch.empty_like(boxes, dtype=dtype, memory_format=layout)


def _allocate(
    pred: Tensor, target: Tensor, reduction: str, store_pred: bool, store_target: bool
) -> tuple[Tensor, list[Tensor]]:
    """The loss and those gradients that are to be stored, not yet computed."""
    gradients = []
    if store_pred:
        gradients.append(_allocate_gradient(pred, target, reduction))
    if store_target:
        gradients.append(_allocate_gradient(target, pred, reduction))
    return _allocate_loss(pred, target, reduction), gradients


def _run(
    pred: Tensor,
    target: Tensor,
    gradient_scale: Tensor | None,
    loss: Tensor | None,
    gradient: Tensor | None,
    weight: Tensor | None,
    normalizer: Tensor | None,
    normalizer_floor: float,
    scale: float,
    kind: str,
    box_format: str,
    eps: float,
    reduction: str,
) -> None:
    """Fills the outputs that are not None; `gradient` is the one by `pred`."""
    real = _native.compute_dtype(pred, target)
    if _views.needs_copy(pred):
        pred = _views.contiguous("pred", pred)
    if _views.needs_copy(target):
        target = _views.contiguous("target", target)
    if weight is not None:
        weight = _views.contiguous("weight", _views.cast("weight", weight, real))
    _native.call(
        "iou_loss",
        pred,
        pred,
        target,
        kind,
        box_format,
        eps,
        weight,
        normalizer,
        normalizer_floor,
        scale,
        reduction,
        gradient_scale,
        loss,
        gradient,
    )


def _kernel(pred: Tensor, target: Tensor, *arguments: Any) -> tuple[Tensor, list[Tensor]]:
    *options, store_pred, store_target = arguments
    loss, gradients = _allocate(pred, target, options[-1], store_pred, store_target)
    _run(pred, target, None, loss, gradients[0] if store_pred else None, *options)
    if store_target:  # the losses are symmetric
        _run(target, pred, None, None, gradients[-1], *options)
    return loss, gradients


def _fake(pred: Tensor, target: Tensor, *arguments: Any) -> tuple[Tensor, list[Tensor]]:
    return _allocate(pred, target, *arguments[-3:])


def _backward_kernel(pred: Tensor, target: Tensor, *arguments: Any) -> Tensor:
    """The gradient of the reduced loss by its first argument."""
    *options, grad_loss = arguments
    reduction = options[-1]
    gradient = _allocate_gradient(pred, target, reduction)
    if reduction == "none":
        _checks.shape("grad_loss", grad_loss, pred.shape[:-1], "one number a box of pred")
        _run(pred, target, None, None, gradient, *options)
        return gradient.mul_(grad_loss[..., None])
    grad_loss = _views.cast("grad_loss", grad_loss, _native.compute_dtype(pred, target))
    _run(pred, target, grad_loss, None, gradient, *options)
    return gradient


def _backward_fake(pred: Tensor, target: Tensor, *arguments: Any) -> Tensor:
    return _allocate_gradient(pred, target, arguments[-2])


class _IouLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, pred: Tensor, target: Tensor, *arguments: Any
    ) -> tuple[Tensor, list[Tensor], Tensor | None]:
        weight, normalizer, *options, store_pred, store_target = arguments
        loss, gradients = _OP.forward(pred, target, *arguments)
        grad_pred = gradients[0] if store_pred else None
        grad_target = gradients[-1] if store_target else None
        ctx.options = options
        saved: list[Tensor | None] = [grad_pred, grad_target]
        if ctx.needs_input_grad[:2] != (store_pred, store_target):
            saved += [pred, target, weight, normalizer]
        return loss, gradients, _library.save(ctx, pred, *saved)

    @staticmethod
    @_library.differentiable_once
    def backward(ctx: Any, grad_loss: Tensor, *_: None) -> tuple[Tensor | None, ...]:
        if grad_loss is None:
            return (None, None, *_NO_GRADIENTS)
        _, grad_pred, grad_target, *inputs = ctx.saved_tensors
        if ctx.needs_input_grad[0]:
            grad_pred = _backward(ctx, grad_loss, grad_pred, inputs)
        if ctx.needs_input_grad[1]:
            inputs[:2] = inputs[1::-1]
            grad_target = _backward(ctx, grad_loss, grad_target, inputs)
        return (grad_pred, grad_target, *_NO_GRADIENTS)


def _backward(
    ctx: Any, grad_loss: Tensor, stored: Tensor | None, inputs: list[Tensor | None]
) -> Tensor:
    """The gradient by inputs[0], from what the forward pass stored, or else computed."""
    if stored is None:
        return _BACKWARD_OP.forward(*inputs, *ctx.options, grad_loss)
    if ctx.options[-1] == "none":
        return stored * grad_loss[..., None]  # torch casts it to the dtype of its tensor
    return _library.scale_gradient(ctx, stored, grad_loss)


_NO_GRADIENTS = (None,) * 10  # of the arguments behind target

_OP = _library.define(
    "iou_loss"
    + _SCHEMA.format(last="bool store_pred, bool store_target", result="(Tensor, Tensor[])"),
    kernel=_kernel,
    fake=_fake,
    autograd=_IouLoss,
    differentiable=2,
)
_BACKWARD_OP = _library.define(
    "iou_loss_backward" + _SCHEMA.format(last="Tensor grad_loss", result="Tensor"),
    kernel=_backward_kernel,
    fake=_backward_fake,
)
