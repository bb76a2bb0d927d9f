"""The op behind `fcos_loss`: kernel and fake twin, autograd, registration."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fcos_ops import _library, _native, _views


def _split(heads: Sequence[Tensor]) -> tuple[Sequence[Tensor], ...]:
    """The levels of each head."""
    count = len(heads) // 3
    return heads[:count], heads[count : 2 * count], heads[2 * count :]


def _allocate(heads: Sequence[Tensor], wanted: Sequence[bool]) -> list[Tensor]:
    """The gradients of the heads that are wanted, not yet computed."""
    return [
        torch.empty_like(tensor)
        for head, is_wanted in zip(_split(heads), wanted, strict=True)
        if is_wanted
        for tensor in head
    ]


def _allocate_losses(heads: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    first = heads[0]
    real = _native.maths_dtype(first)
    return (
        first.new_empty((), dtype=real),
        first.new_empty((), dtype=real),
        first.new_empty((), dtype=real),
    )


def _by_head(gradients: Sequence[Tensor], wanted: Sequence[bool]) -> list[Sequence[Tensor]]:
    """What `_allocate` gave, split; an unwanted head has none."""
    count = len(gradients) // max(sum(wanted), 1)
    parts, first = [], 0
    for is_wanted in wanted:
        parts.append(gradients[first : first + count] if is_wanted else [])
        first += count * is_wanted
    return parts


def _run(
    heads: Sequence[Tensor],
    matched: Tensor,
    boxes: Tensor,
    labels: Tensor,
    normalizers: Tensor,
    gradient_scales: Sequence[Tensor | None],
    losses: Sequence[Tensor | None],
    gradients: Sequence[Sequence[Tensor]],
    grids: Sequence[int],
    lengths: Sequence[float],
    location_offset: float,
    normalize_ltrb: bool,
    box_loss: str,
    box_weight: str,
    normalizer: str,
    alpha: float,
    gamma: float,
    eps: float,
    factor: float = 1.0,
) -> None:
    """Fills the losses that are not None and the gradients that there are."""
    real = _native.maths_dtype(heads[0])
    scales = [s if s is None else s.to(real).contiguous() for s in gradient_scales]
    _native.call(
        "fcos_loss",
        matched,
        *_split(heads),
        grids,
        lengths,
        matched,
        _views.contiguous("boxes", boxes),
        _views.contiguous("labels", labels),
        location_offset,
        normalize_ltrb,
        box_loss,
        box_weight,
        normalizer,
        alpha,
        gamma,
        eps,
        _views.contiguous("normalizers", _views.cast("normalizers", normalizers, real)),
        factor,
        *scales,
        *losses,
        *gradients,
    )


def _kernel(
    heads: Sequence[Tensor],
    matched: Tensor,
    boxes: Tensor,
    labels: Tensor,
    normalizers: Tensor,
    expected: Tensor | None,
    *options: Any,
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    rule, store = options[:-3], options[-3:]
    losses, gradients = _allocate_losses(heads), _allocate(heads, store)
    _run(
        heads,
        matched,
        boxes,
        labels,
        normalizers,
        (expected,) * 3,
        losses,
        _by_head(gradients, store),
        *rule,
    )
    return (*losses, gradients)


def _fake(heads: Sequence[Tensor], *arguments: Any) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    return (*_allocate_losses(heads), _allocate(heads, arguments[-3:]))


def _backward_kernel(
    heads: Sequence[Tensor],
    matched: Tensor,
    boxes: Tensor,
    labels: Tensor,
    normalizers: Tensor,
    by_classes: Tensor | None,
    by_ltrb: Tensor | None,
    by_centerness: Tensor | None,
    *options: Any,
) -> list[Tensor]:
    """The gradients of the heads that have a derivative by their loss."""
    scales = (by_classes, by_ltrb, by_centerness)
    wanted = [scale is not None for scale in scales]
    gradients = _allocate(heads, wanted)
    parts = _by_head(gradients, wanted)
    none = (None,) * 3
    _run(heads, matched, boxes, labels, normalizers, scales, none, parts, *options)
    return gradients


def _backward_fake(heads: Sequence[Tensor], *arguments: Any) -> list[Tensor]:
    return _allocate(heads, [scale is not None for scale in arguments[4:7]])


def _chain(
    ctx: Any,
    gradients: list[Sequence[Tensor]],
    grad_losses: Sequence[Tensor | None],
    expected: Tensor | None,
) -> list[Sequence[Tensor]]:
    """The stored gradients of each head times the derivative by its loss, over what was expected:
    in place where that is allowed, and there not at all where they are as expected."""
    kept = [[] if s is None else h for h, s in zip(gradients, grad_losses, strict=True)]
    stored = [tensor for head in kept for tensor in head]
    if _library.may_overwrite_saved(ctx, [*stored, *grad_losses]):
        try:
            _scale_in_place(kept, grad_losses, expected, ctx.factor)
            return kept
        except BufferError:  # a derivative is a zero tensor or the like
            pass
    return [
        [] if scale is None else _scaled(head, scale, expected, ctx.factor)
        for head, scale in zip(kept, grad_losses, strict=True)
    ]


def _scale_in_place(
    kept: list[Sequence[Tensor]],
    grad_losses: Sequence[Tensor | None],
    expected: Tensor | None,
    factor: float,
) -> None:
    stored = [tensor for head in kept for tensor in head]
    if not stored:
        return
    real = _native.maths_dtype(*stored)
    views: list[Any] = []
    for head, scale in zip(kept, grad_losses, strict=True):
        views += (head, None if scale is None else scale.to(real))
    _native.call(
        "fcos_scale_gradients",
        stored[0],
        *views,
        factor,
        None if expected is None else expected.to(real),
    )


def _scaled(
    head: Sequence[Tensor], scale: Tensor, expected: Tensor | None, factor: float
) -> list[Tensor]:
    if expected is not None:
        scale = scale / expected.to(scale.dtype).reshape(())
    if factor != 1.0:
        scale = scale / factor
    return [tensor * scale for tensor in head]


class _FcosLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Any, ...]:
        inputs, options, heads = arguments[:5], arguments[5:_HEADS_AT], arguments[_HEADS_AT:]
        matched, boxes, labels, normalizers, expected = inputs
        *losses, gradients = LOSS_OP.forward(list(heads), *inputs, *options)
        *ctx.options, ctx.factor = options[:-3]
        ctx.store = options[-3:]
        needed = _split(ctx.needs_input_grad[_HEADS_AT:])
        ctx.recompute = [any(n) and not s for n, s in zip(needed, ctx.store, strict=True)]
        saved = [expected, *gradients]
        if any(ctx.recompute):
            saved += [matched, boxes, labels, normalizers, *heads]
        ctx.num_gradients = len(gradients)
        return (*losses, gradients, _library.save(ctx, heads[0], *saved))

    @staticmethod
    @_library.differentiable_once
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        grad_losses = grad_outputs[:3]
        _, expected, *saved = ctx.saved_tensors
        gradients, inputs = saved[: ctx.num_gradients], saved[ctx.num_gradients :]
        parts = _by_head(gradients, ctx.store)
        if gradients:
            stored = [g if s else None for g, s in zip(grad_losses, ctx.store, strict=True)]
            parts = _chain(ctx, parts, stored, expected)
        late = [g if r else None for g, r in zip(grad_losses, ctx.recompute, strict=True)]
        wanted = [g is not None for g in late]
        if any(wanted):
            computed = _BACKWARD_OP.forward(inputs[4:], *inputs[:4], *late, *ctx.options)
            computed = _by_head(computed, wanted)
            parts = [c or p for c, p in zip(computed, parts, strict=True)]
        count = (len(ctx.needs_input_grad) - _HEADS_AT) // 3
        by_heads: list[Tensor | None] = [None] * _HEADS_AT
        for part in parts:
            by_heads += part or [None] * count
        return tuple(by_heads)


_HEADS_AT = 19  # index of the first head among the arguments of _FcosLoss
_OPTIONS = (
    "SymInt[] grids, float[] lengths, float location_offset, bool normalize_ltrb, str box_loss, "
    "str box_weight, str normalizer, float alpha, float gamma, float eps"
)
LOSS_OP = _library.define(
    "fcos_loss(Tensor[] heads, Tensor matched, Tensor boxes, Tensor labels, Tensor normalizers, "
    f"Tensor? expected_scale, {_OPTIONS}, float factor, bool store_classes, bool store_ltrb, "
    "bool store_centerness) "
    "-> (Tensor, Tensor, Tensor, Tensor[])",
    kernel=_kernel,
    fake=_fake,
    autograd=_FcosLoss,
    differentiable=None,
    tensor_lists=1,
)
_BACKWARD_OP = _library.define(
    "fcos_loss_backward(Tensor[] heads, Tensor matched, Tensor boxes, Tensor labels, "
    "Tensor normalizers, Tensor? by_classes, Tensor? by_ltrb, Tensor? by_centerness, "
    f"{_OPTIONS}) -> Tensor[]",
    kernel=_backward_kernel,
    fake=_backward_fake,
    tensor_lists=1,
)
