"""The op behind `fcos_loss`: kernel and fake twin, autograd, registration."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fcos_ops import _backward, _library, _native, _schema, _views
from fcos_ops._flat_levels import check_levels
from fcos_ops.presets import LossRule

_NO_LOSSES = _NO_SCALES = (None,) * 3  # one a head
_NUM_TRUTHS = 4  # matched, boxes, labels, normalizers
_NUM_INPUTS = _NUM_TRUTHS + 1  # and expected_scale
_SCALES = ("expected_scale", "grad_classification", "grad_bbox_regression", "grad_centerness")


def _split(heads: Sequence[Tensor]) -> tuple[Sequence[Tensor], ...]:
    """The levels of each head."""
    count = len(heads) // 3
    return heads[:count], heads[count : 2 * count], heads[2 * count :]


def _allocate(heads: Sequence[Tensor], needed: Sequence[bool]) -> list[Tensor]:
    """The gradients of the heads that are needed, not yet computed."""
    return [
        torch.empty_like(tensor)
        for head, is_needed in zip(_split(heads), needed, strict=True)
        if is_needed
        for tensor in head
    ]


def _allocate_losses(heads: Sequence[Tensor]) -> list[Tensor]:
    real, device = _native.compute_dtype(heads[0]), heads[0].device
    return [_views.empty((), real, device) for _ in range(3)]


def _group_by_head(gradients: Sequence[Tensor], needed: Sequence[bool]) -> list[Sequence[Tensor]]:
    """What `_allocate` gave, split; an unwanted head has none."""
    count = len(gradients) // max(sum(needed), 1)
    head_gradients, first = [], 0
    for is_needed in needed:
        head_gradients.append(gradients[first : first + count] if is_needed else [])
        first += count * is_needed
    return head_gradients


def _split_scales(arguments: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """The derivatives by the three losses, and what follows them."""
    return arguments[:3], arguments[3:]


def _run(
    heads: Sequence[Tensor],
    inputs: Sequence[Any],
    gradient_scales: Sequence[Tensor | None],
    losses: Sequence[Tensor | None],
    gradients: Sequence[Sequence[Tensor]],
    options: Sequence[Any],
    *,
    only_unexpected: bool = False,
) -> None:
    """Fills the losses that are not None and the gradients that there are, which are multiplied by
    `gradient_scales`, where there is none by what is expected to be one. With `only_unexpected` the
    gradients hold what a call without scales has written.

    inputs: matched, boxes, labels, normalizers, expected_scale. options: levels, convention, rule,
    factor.
    """
    matched, boxes, labels, normalizers, expected = inputs
    sizes_and_strides, scales_and_ranges, *convention_and_rule, factor = options
    real = _native.compute_dtype(heads[0])
    check_levels(sizes_and_strides, scales_and_ranges)
    scales = [
        s if s is None else _views.cast(name, s, real)
        for name, s in zip(_SCALES, (expected, *gradient_scales), strict=True)
    ]
    _native.call(
        "fcos_loss",
        matched,
        *_split(heads),
        sizes_and_strides,
        scales_and_ranges,
        matched,
        _views.contiguous("boxes", boxes),
        _views.contiguous("labels", labels),
        *convention_and_rule,
        _views.contiguous("normalizers", normalizers, real),
        1.0 if factor is None else factor,
        *scales,
        only_unexpected,
        *losses,
        *gradients,
    )


def _kernel(heads: Sequence[Tensor], *arguments: Any) -> tuple[Any, ...]:
    inputs, options, store = arguments[:_NUM_INPUTS], arguments[_NUM_INPUTS:-3], arguments[-3:]
    losses, gradients = _allocate_losses(heads), _allocate(heads, store)
    head_gradients = _group_by_head(gradients, store)
    _run(heads, inputs, _NO_SCALES, losses, head_gradients, options)
    return (*losses, gradients)


def _fake(heads: Sequence[Tensor], *arguments: Any) -> tuple[Any, ...]:
    return (*_allocate_losses(heads), _allocate(heads, arguments[-3:]))


def _backward_kernel(heads: Sequence[Tensor], *arguments: Any) -> list[Tensor]:
    """The gradients of the heads that have a derivative by their loss."""
    truths, (scales, options) = arguments[:_NUM_TRUTHS], _split_scales(arguments[_NUM_TRUTHS:])
    needed = [scale is not None for scale in scales]
    gradients = _allocate(heads, needed)
    head_gradients = _group_by_head(gradients, needed)
    _run(heads, (*truths, None), scales, _NO_LOSSES, head_gradients, (*options, None))
    return gradients


def _backward_fake(heads: Sequence[Tensor], *arguments: Any) -> list[Tensor]:
    scales, _ = _split_scales(arguments[_NUM_TRUTHS:])
    return _allocate(heads, [scale is not None for scale in scales])


def _correct_kernel(
    heads: Sequence[Tensor], stored: Sequence[Tensor], *arguments: Any
) -> list[Tensor]:
    """Copies of the stored gradients of the heads that have a derivative by their loss, corrected
    where it is not the expected one."""
    inputs, (scales, options) = arguments[:_NUM_INPUTS], _split_scales(arguments[_NUM_INPUTS:])
    gradients = [tensor.clone() for tensor in stored]
    head_gradients = _group_by_head(gradients, [scale is not None for scale in scales])
    _run(heads, inputs, scales, _NO_LOSSES, head_gradients, options, only_unexpected=True)
    return gradients


def _correct_fake(heads: Sequence[Tensor], stored: Sequence[Tensor], *_: Any) -> list[Tensor]:
    return [torch.empty_like(tensor) for tensor in stored]


def _correct_stored(
    ctx: Any,
    head_gradients: list[Sequence[Tensor]],
    grad_losses: Sequence[Tensor | None],
    inputs: Sequence[Any],
    heads: Sequence[Tensor],
) -> list[Sequence[Tensor]]:
    """The stored gradients once the derivatives by the losses are known: where one is not what was
    expected they are computed again, as what was stored may have over- or underflowed.

    In place where that is allowed; else new tensors are returned.
    """
    stored = [tensor for head in head_gradients for tensor in head]
    if _backward.may_overwrite_saved(ctx, stored, grad_losses):
        try:
            _run(
                heads,
                inputs,
                grad_losses,
                _NO_LOSSES,
                head_gradients,
                ctx.options,
                only_unexpected=True,
            )
            return head_gradients
        except BufferError:  # a derivative is a zero tensor or the like
            pass
    corrected = _CORRECT_OP.forward(heads, stored, *inputs, *grad_losses, *ctx.options)
    return _group_by_head(corrected, [scale is not None for scale in grad_losses])


class _FcosLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Any, ...]:
        arguments, heads = arguments[:_HEADS_AT], arguments[_HEADS_AT:]
        inputs, options = arguments[:_NUM_INPUTS], arguments[_NUM_INPUTS:]
        *losses, gradients = LOSS_OP.forward(list(heads), *inputs, *options)
        ctx.options, ctx.store = options[:-3], options[-3:]
        needed = _split(ctx.needs_input_grad[_HEADS_AT:])
        ctx.recompute = [any(n) and not s for n, s in zip(needed, ctx.store, strict=True)]
        ctx.expects = inputs[-1] is not None or ctx.options[-1] is not None
        saved = gradients
        if ctx.expects or any(ctx.recompute):
            saved = [*gradients, *inputs, *heads]
        ctx.num_gradients = len(gradients)
        return (*losses, gradients, _backward.save(ctx, heads[0], *saved))

    @staticmethod
    @_backward.differentiable_once
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        grad_losses = grad_outputs[:3]
        _, *saved = ctx.saved_tensors
        gradients, saved = saved[: ctx.num_gradients], saved[ctx.num_gradients :]
        inputs, heads = saved[:_NUM_INPUTS], saved[_NUM_INPUTS:]
        stored = [g if s else None for g, s in zip(grad_losses, ctx.store, strict=True)]
        head_gradients = _group_by_head(gradients, ctx.store)
        head_gradients = [
            [] if s is None else h for h, s in zip(head_gradients, stored, strict=True)
        ]
        if any(head_gradients) and ctx.expects:
            head_gradients = _correct_stored(ctx, head_gradients, stored, inputs, heads)
        elif any(head_gradients):
            head_gradients = [*_backward.scale_stored(ctx, head_gradients, stored)]
        late = [g if r else None for g, r in zip(grad_losses, ctx.recompute, strict=True)]
        needed = [g is not None for g in late]
        if any(needed):
            computed = _BACKWARD_OP.forward(heads, *inputs[:_NUM_TRUTHS], *late, *ctx.options[:-1])
            computed = _group_by_head(computed, needed)
            head_gradients = [c or p for c, p in zip(computed, head_gradients, strict=True)]
        count = (len(ctx.needs_input_grad) - _HEADS_AT) // 3
        grad_inputs: list[Tensor | None] = [None] * _HEADS_AT
        for gradients_of_head in head_gradients:
            grad_inputs += gradients_of_head or [None] * count
        return tuple(grad_inputs)


# Index of the first head among the arguments of _FcosLoss: behind ground truth and expected_scale,
# levels, convention, rule, factor and what to store.
_HEADS_AT = 5 + 2 + 2 + len(LossRule._fields) + 1 + 3
_GROUND_TRUTH = "Tensor matched, Tensor boxes, Tensor labels, Tensor normalizers, "
_DERIVATIVES = (
    "Tensor? grad_classification, Tensor? grad_bbox_regression, Tensor? grad_centerness, "
)
_OPTIONS = (
    "SymInt[] level_sizes_and_strides, float[] level_scales_and_ranges, float location_offset, "
    f"bool normalize_ltrb, {_schema.arguments(LossRule)}"
)
LOSS_OP = _library.Op(
    f"fcos_loss(Tensor[] heads, {_GROUND_TRUTH}Tensor? expected_scale, {_OPTIONS}, float? factor, "
    "bool store_classes, bool store_ltrb, bool store_centerness) "
    "-> (Tensor, Tensor, Tensor, Tensor[])",
    kernel=_kernel,
    fake=_fake,
    autograd=_FcosLoss,
    differentiable=None,
    tensor_lists=1,
)
_BACKWARD_OP = _library.Op(
    f"fcos_loss_backward(Tensor[] heads, {_GROUND_TRUTH}{_DERIVATIVES}{_OPTIONS}) -> Tensor[]",
    kernel=_backward_kernel,
    fake=_backward_fake,
    tensor_lists=1,
)
_CORRECT_OP = _library.Op(
    f"fcos_loss_correct(Tensor[] heads, Tensor[] stored, {_GROUND_TRUTH}Tensor? expected_scale, "
    f"{_DERIVATIVES}{_OPTIONS}, float? factor) -> Tensor[]",
    kernel=_correct_kernel,
    fake=_correct_fake,
    tensor_lists=2,
)
