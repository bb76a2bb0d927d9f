"""The op behind `group_norm`: kernel and fake twin, autograd, registration."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fcos_ops import _backward, _checks, _library, _native, _views


def _split(inputs: Sequence[Tensor]) -> tuple[Sequence[Tensor], Tensor, Tensor]:
    """Maps, weight and bias, once it is sure that results of their sizes can be allocated."""
    if len(inputs) < 3 or inputs[0].dim() != 4:
        raise ValueError(
            "inputs must hold one or more maps [B, C, H, W], then weight and bias, "
            f"got {_checks.describe(list(inputs))}"
        )
    return inputs[:-2], inputs[-2], inputs[-1]


def _allocate(inputs: Sequence[Tensor], groups: int) -> tuple[list[Tensor], Tensor]:
    """The normalized maps, and the statistics: [maps, B, groups, 2]."""
    maps, *_ = _split(inputs)
    batch, channels = maps[0].shape[:2]
    if groups < 1 or channels % groups != 0 or groups > max(channels, 1):
        raise ValueError(f"groups must be at least 1 and divide {channels} channels, got {groups}")
    sizes = (len(maps), batch, groups, 2)
    statistics = torch.empty(sizes, dtype=torch.float64, device=maps[0].device)
    return [torch.empty_like(tensor) for tensor in maps], statistics


def _parameter(name: str, tensor: Tensor, maps: Sequence[Tensor]) -> Tensor:
    """Weight or bias as the native library takes it."""
    return _views.contiguous(name, tensor, _native.compute_dtype(*maps))


def _kernel(inputs: Sequence[Tensor], groups: int, eps: float, activation: str) -> list[Tensor]:
    maps, weight, bias = _split(inputs)
    normalized, statistics = _allocate(inputs, groups)
    _native.call(
        "group_norm",
        maps[0],
        maps,
        _parameter("weight", weight, maps),
        _parameter("bias", bias, maps),
        groups,
        eps,
        activation,
        normalized,
        statistics,
    )
    return [*normalized, statistics]


def _fake(inputs: Sequence[Tensor], groups: int, *_: Any) -> list[Tensor]:
    normalized, statistics = _allocate(inputs, groups)
    return [*normalized, statistics]


def _allocate_gradients(
    inputs: Sequence[Tensor], of_maps: bool, of_parameters: bool, real: torch.dtype | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients by the maps, and by weight and bias, where they are wanted, not yet computed; those
    by weight and bias in `real` where given."""
    maps, *parameters = _split(inputs)
    by_maps = [torch.empty_like(tensor) for tensor in maps] if of_maps else []
    by_parameters = [
        tensor.new_empty(tensor.shape, dtype=real or tensor.dtype)
        for tensor in parameters
        if of_parameters
    ]
    return by_maps, by_parameters


def _in_layout_of(map_: Tensor, gradient: Tensor) -> Tensor:
    """`gradient`, or a copy where it has its channels, but not the map, side by side, or the other
    way round, or where its rows are apart: to read both as they lie would take longer."""
    if gradient.shape != map_.shape or gradient.dim() != 4 or gradient.device != map_.device:
        return gradient  # which the native call refuses
    by_rows = map_.stride(1) == 1
    if (gradient.stride(1) == 1) == by_rows and (
        not by_rows or gradient.is_contiguous(memory_format=torch.channels_last)
    ):
        return gradient
    return torch.empty_like(map_, dtype=gradient.dtype).copy_(
        _views.readable("grad_normalized", gradient)
    )


def _backward_kernel(
    inputs: Sequence[Tensor],
    grad_normalized: Sequence[Tensor],
    statistics: Tensor,
    groups: int,
    activation: str,
    of_maps: bool,
    of_parameters: bool,
) -> list[Tensor]:
    maps, weight, bias = _split(inputs)
    real = _native.compute_dtype(*maps)
    grad_maps, grad_parameters = _allocate_gradients(inputs, of_maps, of_parameters, real)
    if len(grad_normalized) == len(maps):
        pairs = zip(maps, grad_normalized, strict=True)
        grad_normalized = [_in_layout_of(map_, gradient) for map_, gradient in pairs]
    _native.call(
        "group_norm_backward",
        maps[0],
        maps,
        _parameter("weight", weight, maps),
        _parameter("bias", bias, maps),
        groups,
        activation,
        statistics,
        grad_normalized,
        grad_maps,
        *(grad_parameters or (None, None)),
    )
    return grad_maps + [
        gradient.to(parameter.dtype)
        for gradient, parameter in zip(grad_parameters, (weight, bias), strict=False)
    ]


def _backward_fake(inputs: Sequence[Tensor], *arguments: Any) -> list[Tensor]:
    grad_maps, grad_parameters = _allocate_gradients(inputs, *arguments[-2:])
    return grad_maps + grad_parameters


class _GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, groups: int, eps: float, activation: str, *inputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        *normalized, statistics = GROUP_NORM_OP.forward(list(inputs), groups, eps, activation)
        ctx.options = groups, activation
        ctx.mark_non_differentiable(statistics)
        link = _backward.save(ctx, inputs[0], *inputs, statistics)
        return (*normalized, statistics, link)

    @staticmethod
    @_backward.differentiable_once
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        _, *maps, weight, bias, statistics = ctx.saved_tensors
        gradients: list[Tensor | None] = [None] * len(ctx.needs_input_grad)
        of_maps = any(ctx.needs_input_grad[_MAPS_AT:-2])
        of_parameters = any(ctx.needs_input_grad[-2:])
        # A level whose result nobody used has no part in it.
        used = [i for i in range(len(maps)) if grad_outputs[i] is not None]
        if not used:
            return tuple(gradients)
        if len(used) < len(maps):
            statistics = torch.stack([statistics[i] for i in used])
        results = _BACKWARD_OP.forward(
            [*[maps[i] for i in used], weight, bias],
            [grad_outputs[i] for i in used],
            statistics,
            *ctx.options,
            of_maps,
            of_parameters,
        )
        if of_maps:
            for i, gradient in zip(used, results, strict=False):
                gradients[_MAPS_AT + i] = gradient
        if of_parameters:
            gradients[-2:] = results[-2:]
        return tuple(gradients)


_MAPS_AT = 3  # index of the first map among the arguments of _GroupNorm
GROUP_NORM_OP = _library.Op(
    "group_norm(Tensor[] inputs, int groups, float eps, str activation) -> Tensor[]",
    kernel=_kernel,
    fake=_fake,
    autograd=_GroupNorm,
    differentiable=None,
    tensor_lists=1,
)
_BACKWARD_OP = _library.Op(
    "group_norm_backward(Tensor[] inputs, Tensor[] grad_normalized, Tensor statistics, "
    "int groups, str activation, bool of_maps, bool of_parameters) -> Tensor[]",
    kernel=_backward_kernel,
    fake=_backward_fake,
    tensor_lists=2,
)
