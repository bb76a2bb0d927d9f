"""The torch operator library `fcos_ops`: each op's file defines its schema and kernels here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

_LIBRARY = torch.library.Library("fcos_ops", "DEF")

# Looked up once: they are asked at every call.
_is_dynamo_compiling = torch.compiler.is_dynamo_compiling
_len_torch_dispatch_stack = torch._C._len_torch_dispatch_stack
_peek_interpreter_stack = torch._C._functorch.peek_interpreter_stack
_get_tracing_state = torch._C._get_tracing_state


class Op:
    """One op of the library: call it to run it with its derivative, `forward` to run it without.

    Eager calls go straight to the Python kernel; the dispatcher, which costs several times more, is
    entered only where a tracer, a transform or a tensor subclass wants to see the op, or where a
    tensor's elements do not lie in its memory: it resolves zero tensors and negative views, and
    gives those of device "meta" to the fake kernel.

    Behind its results a differentiable op returns a link (see `differentiable_once`) where it is
    called with its derivative.

    Args:
        schema: in the dispatcher's language, without the namespace.
        kernel: computes on real tensors of CPU and CUDA; takes what the schema says, by position,
            and checks sizes, dtypes and words: the dispatcher hands it whatever its caller has.
        fake: allocates the outputs, with the strides that the kernel would give them.
        reference: what the op `reference`, registered as <name>_reference, runs on the same
            arguments. For references that read values, where a tracer could not follow: it sees
            that op. Others are called as they are.
        autograd: the derivative; its forward calls `Op.forward`, and returns a link behind the
            results. Without it the outputs are not differentiable.
        differentiable: how many of the first arguments, all tensors, may require a gradient. None:
            those in the first argument, a list; an autograd.Function sees no tensors inside lists,
            so it gets them one by one behind the other arguments.
        tensor_lists: how many of the first arguments are lists of tensors; others hold none.
        discrete: all results are whole numbers, so inputs with a tangent are no mistake.
    """

    reference: Op

    def __init__(
        self,
        schema: str,
        *,
        kernel: Callable[..., Any],
        fake: Callable[..., Any],
        reference: Callable[..., Any] | None = None,
        autograd: type[torch.autograd.Function] | None = None,
        differentiable: int | None = 1,
        tensor_lists: int = 0,
        discrete: bool = False,
    ) -> None:
        name = schema.split("(", 1)[0]
        _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
        _LIBRARY.impl(name, _for_dispatcher(kernel), "CPU")
        _LIBRARY.impl(name, _for_dispatcher(kernel), "CUDA")
        torch.library.register_fake(f"fcos_ops::{name}", fake, lib=_LIBRARY)
        derivative = torch.library.fallthrough_kernel
        if autograd is not None:
            derivative = _without_link(autograd.apply, differentiable is None)
        _LIBRARY.impl(name, derivative, "Autograd")
        self.name = name
        self.overload = getattr(torch.ops.fcos_ops, name).default
        self.kernel = kernel
        self.differentiable = differentiable
        self.tensor_lists = tensor_lists
        self.discrete = discrete
        # Function.apply without the Python around it, which is for function transforms; those go
        # through the dispatcher here.
        self.apply = autograd and super(torch.autograd.Function, autograd).apply  # type: ignore
        if reference is not None:
            self.reference = Op(
                schema.replace(name, f"{name}_reference", 1),
                kernel=reference,
                fake=fake,
                tensor_lists=tensor_lists,
                discrete=discrete,
            )

    def __call__(self, *arguments: Any) -> Any:
        if not runs_eagerly(self._flat(arguments) if self.tensor_lists else arguments):
            return self._dispatch(arguments)
        if self.apply is not None:
            if self.differentiable is None:
                if torch.is_grad_enabled() and any([t.requires_grad for t in arguments[0]]):
                    return self.apply(*arguments[1:], *arguments[0])
            else:
                for tensor in arguments[: self.differentiable]:
                    if tensor.requires_grad and torch.is_grad_enabled():
                        return self.apply(*arguments)
        try:
            return self.kernel(*arguments)
        except BufferError:
            return self._dispatch(arguments)

    def forward(self, *arguments: Any) -> Any:
        if runs_eagerly(self._flat(arguments) if self.tensor_lists else arguments):
            try:
                return self.kernel(*arguments)
            except BufferError:
                pass
        with torch._C._AutoDispatchBelowAutograd():
            return self._dispatch(arguments)

    def _flat(self, arguments: tuple[Any, ...]) -> Iterable[Any]:
        lists, others = arguments[: self.tensor_lists], arguments[self.tensor_lists :]
        return chain.from_iterable((*lists, others))

    def _dispatch(self, arguments: tuple[Any, ...]) -> Any:
        if _is_dynamo_compiling():
            return self.overload(*arguments)
        if forward_ad._current_level >= 0 and not self.discrete:
            self._refuse_tangents(arguments)
        try:
            results = self.overload(*arguments)
        except RuntimeError as error:
            if not any(text in str(error) for text in ("Batching rule", "setup_context")):
                raise
            raise RuntimeError(
                f"fcos_ops.{self.name} does not support torch.vmap and the other transforms of "
                "torch.func: pass a batch as further dimensions of the tensors"
            ) from error
        if _get_tracing_state() is not None and (node := _node_of(results)) is not None:
            node.is_traced = True
        return results

    def _refuse_tangents(self, arguments: tuple[Any, ...]) -> None:
        for argument, value in zip(self.overload._schema.arguments, arguments, strict=True):
            tensors = value if isinstance(value, (list, tuple)) else [value]
            for tensor in tensors:
                if (
                    isinstance(tensor, Tensor)
                    and forward_ad.unpack_dual(tensor).tangent is not None
                ):
                    raise RuntimeError(
                        f"fcos_ops.{self.name} does not support forward-mode derivatives, but "
                        f"{argument.name} has a tangent"
                    )


def _node_of(results: Any) -> Any:
    """The autograd node of an op's results, in eager mode the ctx of its backward; or None."""
    first = results[0] if isinstance(results, (tuple, list)) and results else results
    node = first.grad_fn if isinstance(first, Tensor) else None
    return node if hasattr(node, "owns_saved") else None


def _for_dispatcher(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """`kernel`, of which the dispatcher has resolved what it could."""

    @wraps(kernel)
    def resolved(*arguments: Any) -> Any:
        try:
            return kernel(*arguments)
        except BufferError as error:
            raise ValueError(str(error)) from None

    return resolved


def _without_link(apply: Callable[..., Any], spread_first: bool) -> Callable[..., Any]:
    """An autograd.Function as the dispatcher calls it."""

    def derivative(*arguments: Any) -> Any:
        if spread_first:
            tensors, *others = arguments
            arguments = (*others, *tensors)
        results = apply(*arguments)
        if results[0].requires_grad and (node := _node_of(results)) is not None:
            node.owns_saved = False  # the caller gets what was saved, too
        return results[:-1]

    return derivative


# No subclass of Tensor and no symbolic number is among them; tuples and lists hold plain numbers.
_are_plain = {Tensor, torch.nn.Parameter, type(None), int, float, bool, str, tuple, list}.issuperset


def runs_eagerly(arguments: Iterable[Any]) -> bool:
    """Whether the tensors are plain ones and no tracer or function transform looks on."""
    return (
        not _is_dynamo_compiling()
        and _are_plain(map(type, arguments))
        and not _len_torch_dispatch_stack()
        and _peek_interpreter_stack() is None
        and _get_tracing_state() is None
        and forward_ad._current_level < 0
    )
