"""Tensors whose elements do not lie in their memory: resolved, given to the fake kernel, or refused
by the argument's name; never taken for absent, never read."""

import pytest
import torch
from torch import Tensor

import fcos_ops
from tests.inputs.every_op import DIFFERENTIABLE, EVERY_OP, REDUCED

N = 4
EACH_ARGUMENT = [(name, i) for name, op in EVERY_OP.items() for i in range(len(op.names))]


def without_memory(tensor: Tensor, layout: str) -> Tensor:
    """As torch's sharded training leaves parameters behind."""
    if layout == "strided":
        copy = torch.stack([tensor, tensor], -1)[..., 0]
    elif layout == "behind an offset":
        copy = torch.cat([tensor.reshape(-1), tensor.reshape(-1)])[tensor.numel() :]
        copy = copy.view(tensor.shape)
    else:
        copy = tensor.clone()
    copy.untyped_storage().resize_(0)
    return copy


def run(name: str, inputs: tuple[Tensor, ...], i: int, odd: Tensor) -> tuple[Tensor, ...]:
    return EVERY_OP[name].run(*inputs[:i], odd, *inputs[i + 1 :])


def assert_same(actual: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == e.dtype and a.shape == e.shape
        # Sums of other strides are added in another order.
        torch.testing.assert_close(a, e, rtol=1e-6, atol=0, equal_nan=True)


@pytest.mark.every_device
@pytest.mark.parametrize("name, i", EACH_ARGUMENT)
def test_zero_tensors_are_zeros(name: str, i: int, device: str) -> None:
    inputs = EVERY_OP[name].make(N)
    zeros = torch.zeros_like(inputs[i])
    zero = torch._efficientzerotensor(zeros.shape, dtype=zeros.dtype, device=zeros.device)
    if EVERY_OP[name].names[i] == "offsets" and device != "cuda":  # a GPU clamps them
        with pytest.raises(ValueError, match="offsets must rise from 0 to 4"):
            run(name, inputs, i, zero)
        return
    assert_same(run(name, inputs, i, zero), run(name, inputs, i, zeros))


@pytest.mark.every_device
@pytest.mark.parametrize("name, i", EACH_ARGUMENT)
def test_negative_views_are_what_they_show(name: str, i: int, device: str) -> None:
    inputs = EVERY_OP[name].make(N)
    if inputs[i].dtype == torch.bool:
        return  # torch has no negative of truth values
    negated = torch._neg_view(-inputs[i])
    assert negated.is_neg()
    assert_same(run(name, inputs, i, negated), EVERY_OP[name].run(*inputs))


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_of_negative_views(name: str) -> None:
    inputs = EVERY_OP[name].make(N)
    derivatives = []
    for first in (inputs[0].clone(), torch._neg_view(-inputs[0])):
        x = first.requires_grad_()
        total = sum((r * r).sum() for r in run(name, inputs, 0, x) if r.requires_grad)
        derivatives += torch.autograd.grad(total, x)
    assert torch.equal(*derivatives)


@pytest.mark.parametrize("name, i", EACH_ARGUMENT)
@pytest.mark.parametrize("layout", ["contiguous", "strided", "behind an offset"])
def test_tensors_without_memory_are_refused(name: str, i: int, layout: str) -> None:
    """Also where a copy would be made first, which torch would read from no memory."""
    inputs = EVERY_OP[name].make(N)
    argument = EVERY_OP[name].names[i].replace("[", r"\[").replace("]", r"\]")
    with pytest.raises(ValueError, match=f"^{argument} must have memory"):
        run(name, inputs, i, without_memory(inputs[i], layout))


def test_maps_without_memory_are_not_converted() -> None:
    """One head in float64 makes float64 of the others: torch would read them from no memory."""
    *maps, boxes, labels, offsets = EVERY_OP["fcos_loss"].make(N)
    maps = [t.double() if i < len(maps) // 3 else t for i, t in enumerate(maps)]
    maps[-1] = without_memory(maps[-1], "contiguous")
    with pytest.raises(ValueError, match=r"^centerness\[4\] must have memory"):
        EVERY_OP["fcos_loss"].run(*maps, boxes, labels, offsets)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_derivative_that_is_a_zero_tensor(name: str, dtype: torch.dtype) -> None:
    op = EVERY_OP[name]
    inputs = [t.to(dtype) if t.is_floating_point() else t for t in op.make(N)]
    leaves = [t.requires_grad_() for t in inputs[: op.differentiable]]
    results = [r for r in op.run(*inputs) if r.requires_grad]
    zeros = [torch._efficientzerotensor(r.shape, dtype=r.dtype, device=r.device) for r in results]
    for gradient in torch.autograd.grad(results, leaves, zeros):
        assert (gradient == 0).all()


@pytest.mark.parametrize("name", EVERY_OP)
def test_meta_tensors_have_the_shapes_of_real_ones(name: str) -> None:
    op = EVERY_OP[name]
    inputs = op.make(N)
    meta = [t.to("meta") for t in inputs]
    if name in ("nms", "batched_nms"):
        with pytest.raises(ValueError, match="boxes must hold values, .* on meta"):
            op.run(*meta)
        return
    for actual, expected in zip(op.run(*meta), op.run(*inputs), strict=True):
        assert actual.is_meta and actual.dtype == expected.dtype
        assert actual.shape == expected.shape and actual.stride() == expected.stride()


@pytest.mark.parametrize("name", REDUCED)
def test_gradients_of_meta_tensors(name: str) -> None:
    op = EVERY_OP[name]
    inputs = [t.to("meta") for t in op.make(N)]
    leaves = [t.requires_grad_() for t in inputs[: op.differentiable]]
    total = sum(r for r in op.run(*inputs) if r.requires_grad)
    for gradient, leaf in zip(torch.autograd.grad(total, leaves), leaves, strict=True):
        assert gradient.is_meta and gradient.shape == leaf.shape and gradient.dtype == leaf.dtype


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
@pytest.mark.parametrize("name, i", EACH_ARGUMENT)
def test_nested_tensors_are_refused(name: str, i: int, layout: torch.layout) -> None:
    inputs = EVERY_OP[name].make(N)
    rows = [inputs[i].reshape(-1), inputs[i].reshape(-1)]
    nested = torch.nested.nested_tensor(rows, layout=layout)
    argument = EVERY_OP[name].names[i].replace("[", r"\[").replace("]", r"\]")
    with pytest.raises(TypeError, match=f"^{argument} must be a dense tensor"):
        run(name, inputs, i, nested)


def test_memory_of_saved_tensors_that_a_hook_keeps_is_not_overwritten() -> None:
    logits, labels = torch.randn(6, 4, requires_grad=True), torch.zeros(6, dtype=torch.long)
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    for backward in (torch.tensor(3.0), torch.tensor(0.0)):
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = fcos_ops.sigmoid_focal_loss(logits, labels)
        before = [tensor.clone() for tensor in kept]
        loss.backward(backward)
        assert kept and all(map(torch.equal, kept, before))


@pytest.mark.parametrize("name", REDUCED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_saved_tensors_that_a_hook_shortens_raise(name: str, dtype: torch.dtype) -> None:
    op = EVERY_OP[name]
    inputs = [t.to(dtype) if t.is_floating_point() else t for t in op.make(N)]
    leaves = [t.requires_grad_() for t in inputs[: op.differentiable]]
    shorten = torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: tensor, lambda tensor: tensor[:0] if tensor.dim() else tensor
    )
    with shorten:
        total = sum(r for r in op.run(*inputs) if r.requires_grad)
    with pytest.raises((ValueError, RuntimeError), match="shape"):
        torch.autograd.grad(total, leaves)
