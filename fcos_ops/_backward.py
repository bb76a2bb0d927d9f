"""What the backward passes of the ops have in common: what they save, gradients that the forward
pass stored, and the error of a second derivative."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from fcos_ops import _library, _native, _views

# Looked up once: they are asked at every call.
_get_tracing_state = torch._C._get_tracing_state
# torch.autograd.grad(is_grads_batched=True) shows on no interpreter stack.
_is_batched = torch._C._functorch.is_legacy_batchedtensor
_keeps_graph = torch._C._autograd._get_current_graph_task_keep_graph
_top_saved_tensors_hooks = torch._C._autograd._top_saved_tensors_default_hooks


def save(ctx: Any, like: Tensor, *tensors: Tensor | None) -> Tensor | None:
    """Saves tensors for the backward pass, if there will be one; returns the link of
    `differentiable_once`, an empty tensor on the device of `like`, saved before them."""
    if not any(ctx.needs_input_grad):
        return None
    link = like.new_empty(0)
    ctx.save_for_backward(link, *tensors)
    ctx.set_materialize_grads(False)
    # What hooks hand back may be what their user keeps: it is not ours to overwrite.
    ctx.owns_saved = _top_saved_tensors_hooks(True) is None
    return link


def may_overwrite_saved(ctx: Any, saved: Sequence[Tensor], grad_outputs: Sequence[Any]) -> bool:
    """Whether nobody can ask for the saved tensors again: eager, graph not kept, no hooks."""
    if not ctx.owns_saved or _keeps_graph() or not _library.runs_eagerly((*saved, *grad_outputs)):
        return False
    for tensor in grad_outputs:
        if tensor is not None and _is_batched(tensor):
            return False
    return True


_NO_GROUP: tuple[Any, ...] = ((), None)


def scale_stored(
    ctx: Any, gradients: Sequence[Sequence[Tensor]], grad_losses: Sequence[Tensor | None]
) -> Sequence[Sequence[Tensor]]:
    """The gradients that a forward pass stored, each of three groups times the scalar that came
    back for its loss (None for an empty one): in place where that is allowed, and there not at all
    where the scalar is 1, which is seen on the device."""
    stored = [tensor for group in gradients for tensor in group]
    if may_overwrite_saved(ctx, stored, grad_losses):
        groups: list[Any] = []
        try:
            for group, scale in zip(gradients, grad_losses, strict=True):
                if scale is not None:
                    scale = _views.cast("grad_loss", scale, _native.compute_dtype(group[0]))
                groups += (group, scale)
            _native.call("scale_gradients", stored[0], *groups)
            return gradients
        except BufferError:  # a derivative is a zero tensor or the like
            pass
    return [
        [] if scale is None else [tensor * scale for tensor in group]
        for group, scale in zip(gradients, grad_losses, strict=True)
    ]


def scale_gradient(ctx: Any, gradient: Tensor, grad_loss: Tensor) -> Tensor:
    """`scale_stored` of one gradient, in less time."""
    if may_overwrite_saved(ctx, (gradient,), (grad_loss,)):
        try:
            real = _native.compute_dtype(gradient)
            group = (gradient,), _views.cast("grad_loss", grad_loss, real)
            _native.call("scale_gradients", gradient, *group, *_NO_GROUP, *_NO_GROUP)
            return gradient
        except BufferError:
            pass
    return gradient * grad_loss


def differentiable_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates the backward of an op that has no second derivative: asking for it raises.

    The first tensor that the op saves must be its link: an empty tensor that it also returns, so
    that the graph leads from it to all inputs. Where a graph of the gradients is wanted, they
    depend on the link and on the incoming gradients by way of a function whose derivative raises,
    whichever of these somebody differentiates by. (torch's once_differentiable hangs its error on
    nothing else, so the engine passes it by where derivatives by given inputs are asked for.)
    """

    @wraps(backward)
    def wrapper(ctx: Any, *grad_outputs: Any) -> Any:
        if getattr(ctx, "is_traced", False) and _get_tracing_state() is None:
            raise RuntimeError(
                f"fcos_ops: {type(ctx).__name__} runs on a thread that torch.jit.trace does not "
                "see, as backward passes of a GPU do: use torch.export"
            )
        if not torch.is_grad_enabled():
            return backward(ctx, *grad_outputs)
        with torch.no_grad():
            gradients = backward(ctx, *grad_outputs)
        known = [g for g in gradients if g is not None]
        sources = [ctx.saved_tensors[0], *[g for g in grad_outputs if isinstance(g, Tensor)]]
        linked = iter(_DifferentiableOnce.apply(type(ctx).__name__, len(known), *known, *sources))
        return tuple(None if g is None else next(linked) for g in gradients)

    return wrapper


class _DifferentiableOnce(torch.autograd.Function):
    """Returns the first `count` tensors, which then depend on all of them."""

    @staticmethod
    def forward(ctx: Any, name: str, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.name = name
        return tensors[:count]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        raise RuntimeError(f"fcos_ops: {ctx.name} can be differentiated only once")
