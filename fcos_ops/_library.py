"""The torch operator library `fcos_ops`: each op's file defines its schema and kernels here."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_LIBRARY = torch.library.Library("fcos_ops", "DEF")

#: Enter to reach an op's kernel from inside its autograd formula.
below_autograd = torch._C._AutoDispatchBelowAutograd


def define(
    schema: str,
    *,
    kernel: Callable[..., Any],
    fake: Callable[..., Any],
    autograd: Callable[..., Any] | None = None,
) -> None:
    """Registers an op: its schema, its kernel for CPU and CUDA, its shapes, its derivative.

    Args:
        schema: in the dispatcher's language, without the namespace.
        kernel: computes on real tensors.
        fake: allocates the outputs, with the strides that the kernel would give them.
        autograd: called in place of the kernel where tensors may require a gradient; without it the
            outputs are not differentiable.
    """
    name = schema.split("(", 1)[0]
    _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, kernel, "CPU")
    _LIBRARY.impl(name, kernel, "CUDA")
    torch.library.register_fake(f"fcos_ops::{name}", fake, lib=_LIBRARY)
    if autograd is not None:
        _LIBRARY.impl(name, autograd, "Autograd")


def runs_eagerly(tensor: Tensor) -> bool:
    """Whether `tensor` holds real memory and no tracer looks on."""
    return type(tensor) is Tensor and torch._C._len_torch_dispatch_stack() == 0


def chain(gradient: Tensor, grad_output: Tensor) -> Tensor:
    """`gradient`, saved by a forward pass, times the scalar that came back for its loss.

    Where nobody can ask for it again (eager, graph not kept) it is scaled in place, and not at all
    when the scalar is 1; else a new tensor is returned.
    """
    if not runs_eagerly(gradient) or torch._C._autograd._get_current_graph_task_keep_graph():
        return gradient * grad_output
    if grad_output.device.type == "cpu" and grad_output.item() == 1.0:
        return gradient
    return gradient.mul_(grad_output)
