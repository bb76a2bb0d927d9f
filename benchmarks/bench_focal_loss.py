"""sigmoid_focal_loss, forward and forward + backward, on the canonical problem."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

import fcos_ops
from benchmarks import problem
from benchmarks.contenders import compiled, torchvision_ops
from benchmarks.harness import OURS, Case
from fcos_ops import reference


def cases() -> Iterator[Case]:
    for batch, dtype in problem.variants():
        logits = problem.logits(batch).to(dtype)
        where = problem.with_dtype(f"batch {batch}, 800x1344, 80 classes", dtype)
        labels, one_hot = targets(logits)
        yield from cases_of(logits, labels, one_hot, where)
        if batch > 1 and dtype == torch.float32:
            yield from cases_of(logits, one_hot, one_hot, f"{where}, dense targets")
        if batch > 1 and problem.on_gpu():
            planes = logits.transpose(1, 2).contiguous().transpose(1, 2)
            yield from cases_of(planes, labels, one_hot, f"{where}, class-major")


def targets(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Labels of which one in a hundred is an object, and the same as one-hot rows."""
    labels = torch.full(logits.shape[:-1], -1)
    labels.view(-1)[::100] = torch.arange(labels.numel())[::100] % problem.CLASSES
    return labels, (labels[..., None] == torch.arange(problem.CLASSES)).to(logits.dtype)


def cases_of(logits: Tensor, given: Tensor, one_hot: Tensor, where: str) -> Iterator[Case]:
    """`given`, labels or dense targets, goes to all but torchvision, which takes no labels and gets
    its one-hot targets ready. It is left out in half precision, as it computes in that."""
    contenders: dict[str, Callable[[Tensor], Tensor]] = {
        OURS: lambda x: fcos_ops.sigmoid_focal_loss(x, given),
        "eager": lambda x: reference.sigmoid_focal_loss(x, given),
        "torch.compile": compiled(lambda x: reference.sigmoid_focal_loss(x, given)),
    }
    if torchvision_ops is not None and logits.dtype == torch.float32:
        theirs = torchvision_ops.sigmoid_focal_loss
        contenders["torchvision"] = lambda x: theirs(x, one_hot, reduction="sum")
    size = logits.numel() * logits.element_size()
    # labels are an eightieth of the logits; what is asked of them is not asked of dense targets
    read, target = (2 * size, None) if given.is_floating_point() else (size, 8.0)
    tolerance = 1e-5 + problem.rounding(logits.dtype)

    def agree(ours: Any, theirs: Any) -> None:
        for a, b in zip(ours, theirs, strict=True):
            assert (a - b).norm() <= tolerance * b.norm()

    def forward(loss: Callable[[Tensor], Tensor]) -> Callable[[], Any]:
        def run() -> tuple[Tensor]:
            with torch.no_grad():
                return (loss(logits),)

        return run

    def forward_backward(loss: Callable[[Tensor], Tensor]) -> Callable[[], Any]:
        def run() -> tuple[Tensor, Tensor]:
            x = logits.detach().requires_grad_()
            value = loss(x)
            return value.detach(), torch.autograd.grad(value, x)[0]

        return run

    runs = {name: forward(loss) for name, loss in contenders.items()}
    yield Case("focal_loss", f"forward, {where}", runs, agree, bytes_moved=read)
    runs = {name: forward_backward(loss) for name, loss in contenders.items()}
    yield Case("focal_loss", f"forward+backward, {where}", runs, agree, target, read + size)
