"""Ops of losses that are sums over rows: one pass gives the loss and the gradients, stored."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fcos_ops import _backward, _checks, _constants, _library, _native, _views


def stores_gradient(tensor: Tensor, reduction: str) -> bool:
    """Whether the forward pass shall keep the gradient by `tensor`.

    A float16 gradient is recomputed in the backward pass, when its scale is known: without the loss
    scale most of it would flush to zero.
    """
    return (
        tensor.requires_grad
        and torch.is_grad_enabled()
        and (tensor.dtype != torch.float16 or reduction == "none")
    )


class LossOp(_library.Op):
    """A loss as an op, and as another its gradient, for the backward pass of what is not stored.

    A call takes the arguments and a flag for each gradient; it returns the loss, and a list of the
    gradients that are stored, in the dtypes of their tensors, in that of the loss with reduction
    "none".

    Args:
        name: of the op; that of the gradient is <name>_backward.
        arguments: of both schemas, the tensors first, the reduction last.
        stores: the names of the flags that say, one for each of the first arguments, which alone
            are differentiable, whether the forward pass stores its gradient. A loss of two is
            symmetric in them.
        prepare: takes the arguments, then grad_loss and the outputs loss and gradient, or None;
            returns them as the native function of the same name takes them.
        allocate: makes an output of the shape of its first argument, of the dtype that is its
            second.
        losses: the shape of the losses with reduction "none", as error messages state it.
        of_rows: that is the shape of the first argument without its last dimension, else all of it.
        dimensions_to_cut: takes the arguments; in how many of their first dimensions large tensors
            are cut, so that copies that `prepare` makes of them are small: 0 where it makes none.
            None: they are copied whole. A loss a row cannot be cut.
    """

    def __init__(
        self,
        name: str,
        arguments: str,
        *,
        stores: Sequence[str],
        prepare: Callable[..., tuple[Any, ...]],
        allocate: Callable[[Tensor, torch.dtype], Tensor],
        losses: str,
        of_rows: bool = False,
        dimensions_to_cut: Callable[..., int] | None = None,
    ) -> None:
        self._prepare, self._dimensions_to_cut = prepare, dimensions_to_cut
        self._allocate, self._losses, self._of_rows = allocate, losses, of_rows
        count, self._num_tensors = len(stores), arguments.count("Tensor")
        # Parts of the arguments of a call, made here as each call would need time for them.
        self._differentiable = slice(count)
        self._inputs, self._store = slice(-count), slice(-count, None)
        self._is_symmetric = count == 2
        num_arguments = arguments.count(",") + 1 + count
        self._no_gradients: tuple[None, ...] = (None,) * num_arguments
        # Of the name that a class statement would give: graphs and error messages show it.
        autograd = type(
            "_" + name.title().replace("_", ""),
            (torch.autograd.Function,),
            {
                "forward": staticmethod(self._forward),
                "backward": staticmethod(_backward.differentiable_once(self._backward)),
            },
        )
        flags = ", ".join(f"bool {store}" for store in stores)
        super().__init__(
            f"{name}({arguments}, {flags}) -> (Tensor, Tensor[])",
            kernel=self._kernel,
            fake=self._fake,
            autograd=autograd,
            differentiable=count,
        )
        self._backward_op = _library.Op(
            f"{name}_backward({arguments}, Tensor grad_loss) -> Tensor",
            kernel=self._backward_kernel,
            fake=self._allocate_gradient,
        )

    def _kernel(self, *arguments: Any) -> tuple[Tensor, list[Tensor]]:
        inputs, store = arguments[self._inputs], arguments[self._store]
        loss, gradients = self._allocate_outputs(inputs, store)
        self._run(None, loss, gradients[0] if store[0] else None, inputs)
        if self._is_symmetric and store[1]:
            self._run(None, None, gradients[-1], _swapped(inputs))
        return loss, gradients

    def _fake(self, *arguments: Any) -> tuple[Tensor, list[Tensor]]:
        return self._allocate_outputs(arguments[self._inputs], arguments[self._store])

    def _allocate_outputs(
        self, inputs: Sequence[Any], store: Sequence[bool]
    ) -> tuple[Tensor, list[Tensor]]:
        tensors, reduction = inputs[self._differentiable], inputs[-1]
        real = _native.compute_dtype(*tensors)
        first, gradients = tensors[0], []
        if reduction != "none":
            loss = _views.empty((), real, first.device)
        elif self._of_rows:
            loss = _views.empty(first.shape[:-1], real, first.device)
        else:
            loss = self._allocate(first, real)
        if True in store:
            for tensor, is_stored in zip(tensors, store, strict=True):
                if is_stored:
                    dtype = real if reduction == "none" else tensor.dtype
                    gradients.append(self._allocate(tensor, dtype))
        return loss, gradients

    def _allocate_gradient(self, *arguments: Any) -> Tensor:
        first, reduction = arguments[0], arguments[-2]
        real = _native.compute_dtype(*arguments[self._differentiable])
        return self._allocate(first, real if reduction == "none" else first.dtype)

    def _backward_kernel(self, *arguments: Any) -> Tensor:
        """The gradient of the reduced loss by its first argument."""
        *inputs, grad_loss = arguments
        gradient = self._allocate_gradient(*arguments)
        if inputs[-1] == "none":
            shape = gradient.shape[:-1] if self._of_rows else gradient.shape
            _checks.shape("grad_loss", grad_loss, shape, self._losses)
            self._run(None, None, gradient, inputs)
            return gradient.mul_(self._spread(grad_loss))
        real = _native.compute_dtype(*inputs[self._differentiable])
        self._run(_views.cast("grad_loss", grad_loss, real), None, gradient, inputs)
        return gradient

    def _run(
        self,
        grad_loss: Tensor | None,
        loss: Tensor | None,
        gradient: Tensor | None,
        inputs: Sequence[Any],
    ) -> None:
        """Fills the outputs that are not None; the gradient is the one by the first input."""
        first = inputs[0]
        if self._dimensions_to_cut is not None and first.numel() > _views.CHUNK_SIZE:
            dimensions = self._dimensions_to_cut(*inputs)
            outputs = (grad_loss, loss, gradient)
            if dimensions > 0 and self._run_in_chunks(dimensions, *outputs, inputs):
                return
        prepared = self._prepare(*inputs, grad_loss, loss, gradient)
        _native.call(self.name, first, *prepared)

    def _run_in_chunks(
        self,
        dimensions: int,
        grad_loss: Tensor | None,
        loss: Tensor | None,
        gradient: Tensor | None,
        inputs: Sequence[Any],
    ) -> bool:
        """Calls `_run` chunk by chunk (see `_views.chunks`); returns whether there were several."""
        tensors = inputs[: self._num_tensors - 1]
        normalizer, floor, scale, *others, reduction = inputs[self._num_tensors - 1 :]
        shapes = {tensor.shape[:dimensions] for tensor in tensors if tensor is not None}
        if len(shapes) > 1 or reduction not in _constants.WORDS["reduction"]:
            return False  # the native function refuses them as they are
        if reduction == "mean":
            scale, reduction = scale / max(tensors[0].numel(), 1), "sum"
        is_sum = reduction == "sum"
        chunks = _views.chunks((*tensors, None if is_sum else loss, gradient), dimensions)
        if len(chunks) == 1:
            return False
        options = (normalizer, floor, scale, *others, reduction)
        sums = loss.new_empty(len(chunks)) if is_sum and loss is not None else None
        for i, (*chunk, losses, chunk_gradient) in enumerate(chunks):
            chunk_loss = losses if sums is None else sums[i]
            self._run(grad_loss, chunk_loss, chunk_gradient, [*chunk, *options])
        if loss is not None and sums is not None:
            loss.copy_(sums.double().sum())
        return True

    def _spread(self, grad_losses: Tensor) -> Tensor:
        """Derivatives by the losses, so that they can be multiplied with a gradient."""
        return grad_losses[..., None] if self._of_rows else grad_losses

    def _forward(self, ctx: Any, *arguments: Any) -> tuple[Tensor, list[Tensor], Tensor | None]:
        loss, gradients = self.forward(*arguments)
        ctx.store = store = arguments[self._store]
        ctx.options = arguments[self._num_tensors :][self._inputs]
        saved = gradients
        if ctx.needs_input_grad[self._differentiable] != store:
            saved = [*gradients, *arguments[: self._num_tensors]]
        return loss, gradients, _backward.save(ctx, arguments[0], *saved)

    def _backward(self, ctx: Any, grad_loss: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if grad_loss is None:
            return self._no_gradients
        _, *saved = ctx.saved_tensors
        gradients: list[Tensor | None] = [*self._no_gradients]
        for i, is_needed in enumerate(ctx.needs_input_grad[self._differentiable]):
            stored = saved.pop(0) if ctx.store[i] else None
            if not is_needed:
                continue
            if stored is None:
                inputs = saved[-self._num_tensors :]
                inputs = _swapped(inputs) if i == 1 else inputs
                gradients[i] = self._backward_op.forward(*inputs, *ctx.options, grad_loss)
            elif ctx.options[-1] == "none":
                # torch casts it to the dtype of its tensor.
                gradients[i] = stored * self._spread(grad_loss)
            else:
                gradients[i] = _backward.scale_gradient(ctx, stored, grad_loss)
        return tuple(gradients)


def _swapped(inputs: Sequence[Any]) -> list[Any]:
    """The inputs of a symmetric loss as those of the gradient by its second one."""
    return [inputs[1], inputs[0], *inputs[2:]]
