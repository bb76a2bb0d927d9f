"""The torch operator library `fcos_ops`: each op's file defines its schema and kernels here."""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from itertools import chain
from typing import Any

import torch
from torch import Tensor

_LIBRARY = torch.library.Library("fcos_ops", "DEF")


class Op:
    """One op of the library: call it to run it with its derivative, `forward` to run it without.

    Eager calls go straight to the Python kernel; the dispatcher, which costs several times more, is
    entered only where a tracer, a transform or a tensor subclass wants to see the op.
    """

    def __init__(
        self,
        name: str,
        kernel: Callable[..., Any],
        autograd: type[torch.autograd.Function] | None,
        differentiable: int | None,
        tensor_lists: int,
    ) -> None:
        self.overload = getattr(torch.ops.fcos_ops, name).default
        self.kernel = kernel
        self.differentiable = differentiable
        self.tensor_lists = tensor_lists
        # Function.apply without the Python around it, which is for function transforms; those go
        # through the dispatcher here.
        self.apply = autograd and super(torch.autograd.Function, autograd).apply  # type: ignore

    def __call__(self, *arguments: Any) -> Any:
        if not self._runs_eagerly(arguments):
            return self.overload(*arguments)
        if self.apply is not None:
            if self.differentiable is None:
                if torch.is_grad_enabled() and any([t.requires_grad for t in arguments[0]]):
                    return self.apply(*arguments[1:], *arguments[0])
                return self.kernel(*arguments)
            for tensor in arguments[: self.differentiable]:
                if tensor.requires_grad and torch.is_grad_enabled():
                    return self.apply(*arguments)
        return self.kernel(*arguments)

    def forward(self, *arguments: Any) -> Any:
        if self._runs_eagerly(arguments):
            return self.kernel(*arguments)
        with torch._C._AutoDispatchBelowAutograd():
            return self.overload(*arguments)

    def _runs_eagerly(self, arguments: tuple[Any, ...]) -> bool:
        if self.tensor_lists:
            lists, others = arguments[: self.tensor_lists], arguments[self.tensor_lists :]
            return runs_eagerly(chain.from_iterable((*lists, others)))
        return runs_eagerly(arguments)


def define(
    schema: str,
    *,
    kernel: Callable[..., Any],
    fake: Callable[..., Any],
    autograd: type[torch.autograd.Function] | None = None,
    differentiable: int | None = 1,
    tensor_lists: int = 0,
) -> Op:
    """Registers an op: its schema, its kernel for CPU and CUDA, its shapes, its derivative.

    Args:
        schema: in the dispatcher's language, without the namespace.
        kernel: computes on real tensors; takes what the schema says, by position.
        fake: allocates the outputs, with the strides that the kernel would give them.
        autograd: the derivative; its forward calls `Op.forward`. Without it the outputs are not
            differentiable.
        differentiable: how many of the first arguments, all tensors, may require a gradient. None:
            those in the first argument, a list; an autograd.Function sees no tensors inside lists,
            so it gets them one by one behind the other arguments.
        tensor_lists: how many of the first arguments are lists of tensors; others hold none.
    """
    name = schema.split("(", 1)[0]
    _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, kernel, "CPU")
    _LIBRARY.impl(name, kernel, "CUDA")
    torch.library.register_fake(f"fcos_ops::{name}", fake, lib=_LIBRARY)
    derivative = torch.library.fallthrough_kernel if autograd is None else autograd.apply
    if autograd is not None and differentiable is None:
        derivative = _spreading_first(autograd.apply)
    _LIBRARY.impl(name, derivative, "Autograd")
    return Op(name, kernel, autograd, differentiable, tensor_lists)


def _spreading_first(apply: Callable[..., Any]) -> Callable[..., Any]:
    def derivative(tensors: Sequence[Tensor], *arguments: Any) -> Any:
        return apply(*arguments, *tensors)

    return derivative


# No subclass of Tensor and no symbolic number is among them; tuples and lists hold plain numbers.
_PLAIN = {Tensor, torch.nn.Parameter, type(None), int, float, bool, str, tuple, list}


def runs_eagerly(arguments: Iterable[Any]) -> bool:
    """Whether the tensors hold real memory and no tracer or function transform looks on."""
    return (
        not torch.compiler.is_dynamo_compiling()
        and _PLAIN.issuperset(map(type, arguments))
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._functorch.peek_interpreter_stack() is None
    )


def differentiable_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates the backward of an op that has no second derivative.

    torch's once_differentiable lets a second derivative through as zero when the incoming gradient
    is a constant, as it is for every loss; here it raises whenever it is asked for.
    """

    @wraps(backward)
    def wrapper(ctx: Any, *grad_outputs: Any) -> Any:
        if not torch.is_grad_enabled():
            return backward(ctx, *grad_outputs)
        with torch.no_grad():
            gradients = backward(ctx, *grad_outputs)
        message = f"fcos_ops: {type(ctx).__name__} can be differentiated only once".encode()
        raise_later = torch._C._functions.DelayedError(message, len(gradients))
        attached: list[Any] = [
            None if g is None else g.detach().requires_grad_() for g in gradients
        ]
        return raise_later(*attached)

    return wrapper


def scale_gradient(gradient: Tensor, grad_output: Tensor) -> Tensor:
    """`gradient`, saved by a forward pass, times the scalar that came back for its loss.

    Where nobody can ask for it again (eager, graph not kept) it is scaled in place, and not at all
    when the scalar is 1; else a new tensor is returned.
    """
    if (
        not runs_eagerly((gradient, grad_output))
        or torch._C._autograd._get_current_graph_task_keep_graph()
    ):
        return gradient * grad_output
    if grad_output.is_cpu and grad_output.item() == 1.0:
        return gradient
    return gradient.mul_(grad_output)
