"""Gradients that a forward pass stored, times the derivative by their loss, in place."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops
from fcos_ops import _native
from tests.common import DTYPES
from tests.inputs.every_op import EVERY_OP, REDUCED

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.to(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(0, 3).contiguous().transpose(0, 3),
    "every other": lambda x: torch.cat([x, x], 3)[..., ::2],
    "first images": lambda x: torch.cat([x, x], 0)[:2],
    "first rows": lambda x: torch.cat([x, x], 2)[:, :, : x.shape[2]],
    "misaligned": lambda x: x.new_zeros(x.numel() + 3)[3:].view(x.shape).copy_(x),
}


def real(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def scale(*groups: Any) -> None:
    """Each group is a list of gradients, then its factor, a tensor."""
    padding = ((), None) * (3 - len(groups) // 2)
    _native.call("scale_gradients", groups[0][0], *groups, *padding)


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(layout: str, dtype: torch.dtype) -> None:
    """Of several groups and of one gradient; nothing but the gradients is touched."""
    shapes = [(2, 5, 13, 77), (2, 5, 3, 1), (2, 5, 0, 4)]
    for counts in ((3, 3, 3), (1,)):
        groups = [
            [LAYOUTS[layout](torch.randn(shape).to(dtype)) for shape in shapes[:count]]
            for count in counts
        ]
        factors = [torch.tensor(f, dtype=real(dtype)) for f in (3.0, 1.0, -0.25)[: len(counts)]]
        gradients = [x for group in groups for x in group]
        bases = [x if x._base is None else x._base for x in gradients]
        before = [base.clone() for base in bases]
        expected = [
            (x.to(real(dtype)) * factor).to(dtype)
            for group, factor in zip(groups, factors, strict=True)
            for x in group
        ]
        scale(*[argument for pair in zip(groups, factors, strict=True) for argument in pair])
        for x, base, old, wanted in zip(gradients, bases, before, expected, strict=True):
            assert torch.equal(x, wanted)
            outside = torch.ones_like(base, dtype=torch.bool)
            outside.as_strided(x.shape, x.stride(), x.storage_offset()).fill_(False)
            assert torch.equal(base[outside], old[outside])


@pytest.mark.every_device
@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 3, 4), (2, 3, 4, 5, 6), (300, 2048)])
def test_every_number_of_dimensions(shape: tuple[int, ...]) -> None:
    """The last has more tiles than a kernel has blocks."""
    gradient = torch.randn(shape, dtype=torch.float64)
    expected = gradient * 1.5
    scale([gradient], torch.tensor(1.5, dtype=torch.float64))
    assert torch.equal(gradient, expected)


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factor", [1 + 2.0**-23, 0.0, -1.0, math.inf, math.nan])
def test_only_one_leaves_a_gradient_alone(factor: float, dtype: torch.dtype) -> None:
    gradient = torch.randn(40).to(dtype)
    expected = (gradient.to(real(dtype)) * factor).to(dtype)
    scale([gradient], torch.tensor(factor, dtype=real(dtype)))
    assert torch.equal(gradient.nan_to_num(123.0), expected.nan_to_num(123.0))


def test_strides_of_five_dimensions_are_refused() -> None:
    gradient = torch.ones(2, 3, 4, 5, 6).transpose(0, 4)
    with pytest.raises(ValueError, match=r"gradients\[0\] must have 1 to 4 dimensions"):
        scale([gradient], torch.tensor(2.0))


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        (([torch.ones(2)], torch.ones(2)), ValueError, "grad_loss must have shape of 1 elements"),
        (([torch.ones(2)], torch.ones((), dtype=torch.half)), TypeError, "grad_loss must have"),
        (([torch.ones(2).int()], torch.ones(())), TypeError, r"gradients\[0\] must have dtype"),
        (([torch.ones(2)], None), ValueError, "and a scale"),
        (([torch.ones(2)] * 17, torch.ones(())), ValueError, "gradients must hold at most 16"),
        (([torch.ones(2)], torch.ones(())) * 4, TypeError, "too many arguments"),
        (
            ([torch.ones(2)], torch.ones(()), [torch.ones(2).double()], torch.ones(()).double()),
            ValueError,
            "all gradients or none",
        ),
    ],
)
def test_bad_input(groups: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        scale(*groups)


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", REDUCED)
def test_a_loss_is_scaled_kept_and_used_again(name: str, dtype: torch.dtype) -> None:
    """Factors of 1 and another, of gradients that are still needed and that are not."""
    op = EVERY_OP[name]
    inputs = [t.to(dtype) if t.is_floating_point() else t for t in op.make(9)]
    leaves = [t.requires_grad_() for t in inputs[: op.differentiable]]

    def total() -> Tensor:
        return sum(r for r in op.run(*inputs) if r.requires_grad)

    once = torch.autograd.grad(total(), leaves)
    scaled = torch.autograd.grad(4 * total(), leaves)
    loss = total()
    kept = torch.autograd.grad(4 * loss, leaves, retain_graph=True)
    again = torch.autograd.grad(loss, leaves)
    for a, b, c, d in zip(once, scaled, kept, again, strict=True):
        assert torch.equal(4 * a, b) and torch.equal(b, c) and torch.equal(a, d)


@pytest.mark.every_device
def test_a_loss_of_two_dtypes() -> None:
    pred, target = EVERY_OP["iou_loss"].make(9)[:2]
    pred, target = pred.bfloat16().requires_grad_(), target.double().requires_grad_()
    gradients = [
        torch.autograd.grad(factor * fcos_ops.iou_loss(pred, target), (pred, target))
        for factor in (1, 4)
    ]
    for once, scaled in zip(*gradients, strict=True):
        assert torch.equal(4 * once, scaled)
    loss = fcos_ops.iou_loss(pred, target)
    zero = torch._efficientzerotensor((), dtype=loss.dtype, device=loss.device)
    for gradient in torch.autograd.grad(loss, (pred, target), zero):
        assert (gradient == 0).all()


def test_grad_scaler() -> None:
    """The scale of mixed precision, which is not 1, is divided out again."""
    weight = torch.randn(6, 3, requires_grad=True)
    optimizer, scaler = torch.optim.SGD([weight], lr=1.0), torch.amp.GradScaler("cpu")
    labels = torch.tensor([0, 1, 2, -1, -2, 0])
    expected = weight.detach().clone()
    for _ in range(3):
        x = expected.clone().requires_grad_()
        fcos_ops.reference.sigmoid_focal_loss(x, labels).backward()
        expected -= x.grad
        optimizer.zero_grad()
        scaler.scale(fcos_ops.sigmoid_focal_loss(weight, labels)).backward()
        scaler.step(optimizer)
        scaler.update()
    assert scaler.get_scale() > 1
    # Rounding errors of either in float32, three steps of them.
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("width", [1024, 1023], ids=["dense", "with holes"])
def test_threads_share_a_large_gradient(width: int) -> None:
    values = torch.randn(4, 3, 512, 1024)[..., :width]
    for threads in (1, 2, 3, 7):
        torch.set_num_threads(threads)
        gradient = torch.empty(4, 3, 512, 1024)[..., :width].copy_(values)
        scale([gradient], torch.tensor(3.0))
        assert torch.equal(gradient, values * 3)
