"""Activation checkpointing saves memory and changes nothing else: the same bits on the CPU."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from fcos.models.resnet import Bottleneck, ResNet
from torch import Tensor, nn

from .helpers import small_model


def _pair(name: Any = "resnet18", norm: Any = "bn", **more: Any) -> tuple[ResNet, ResNet]:
    """The same network without and with."""
    torch.manual_seed(0)
    plain = ResNet(name, norm, 16, **more).train()
    sparing = copy.deepcopy(plain)
    sparing.activation_checkpointing = True
    return plain, sparing


def _images() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def _step(body: nn.Module, autocast: bool = False) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = torch.stack([m.float().square().mean() for m in body(_images())]).sum()
    loss.backward()
    return loss


def _assert_equal(one: ResNet, other: ResNet) -> None:
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        assert a.grad is None or torch.equal(a.grad, b.grad), name
    for (name, a), b in zip(one.named_buffers(), other.buffers(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(
    ("name", "norm", "freeze_at"),
    [
        ("resnet18", "bn", 0),
        ("resnet18", "sync_bn", 2),
        ("resnet18", "gn", 0),
        ("resnet50", "frozen_bn", 2),
        ("resnext50_32x4d", "bn", 1),
    ],
)
def test_same_gradients_and_statistics(
    name: str, norm: str, freeze_at: int, autocast: bool
) -> None:
    """Two steps, so that statistics that moved twice would show."""
    plain, sparing = _pair(name, norm, freeze_at=freeze_at)
    for _ in range(2):
        assert torch.equal(_step(plain, autocast), _step(sparing, autocast))
    _assert_equal(plain, sparing)


def _counters(module: nn.Module) -> list[Tensor]:
    return [b for n, b in module.named_buffers() if n.endswith("num_batches_tracked")]


def test_statistics_move_once_a_step() -> None:
    _, body = _pair()
    _step(body)
    assert len(_counters(body)) == 20 and all(counter == 1 for counter in _counters(body))


def test_an_error_in_the_backward_pass_leaves_the_statistics() -> None:
    _, body = _pair()
    loss = torch.stack([m.square().mean() for m in body(_images())]).sum()
    before = [buffer.clone() for buffer in body.buffers()]

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    body.layer2[1].bn2.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        loss.backward()
    assert all(torch.equal(b, kept) for b, kept in zip(body.buffers(), before, strict=True))


def _kept_beside_inputs(body: ResNet) -> tuple[int, int]:
    """How many tensors autograd keeps beside weights and inputs of blocks; how often blocks run."""
    kept: list[Tensor] = []
    inputs: list[Tensor] = []
    for module in body.modules():
        if isinstance(module, Bottleneck):
            module.register_forward_pre_hook(lambda _, x: inputs.extend(x))

    def pack(x: Tensor) -> Tensor:
        kept.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        maps = body(_images())
    known = {x.untyped_storage().data_ptr() for x in (*inputs, *body.parameters())}
    others = {x.untyped_storage().data_ptr() for x in kept} - known
    torch.stack([m.sum() for m in maps]).sum().backward()
    return len(others), len(inputs)


def test_only_inputs_of_blocks_are_kept() -> None:
    plain, sparing = _pair("resnet50", "gn")
    others, runs = _kept_beside_inputs(plain)
    assert others > 100 and runs == 16
    # the image and, of the stem, convolution, ReLU, statistics and link of the norm, pooled indices
    assert _kept_beside_inputs(sparing) == (6, 2 * 16)


def test_evaluation_computes_nothing_twice() -> None:
    """Nor does it take another path, which torch.export would have to follow."""
    _, sparing = _pair("resnet50", "gn")
    others, runs = _kept_beside_inputs(sparing.eval())
    assert others > 100 and runs == 16


def test_under_torch_compile() -> None:
    """With aot_eager, which cuts the graph in two as the default backend does: a single block."""
    torch.compiler.reset()
    plain, sparing = _pair()
    maps = torch.randn(2, 16, 8, 8)
    for body in (plain, sparing):
        step = torch.compile(
            lambda x, body: body._layer(body.layer1[:1], x), backend="aot_eager", fullgraph=True
        )
        step(maps, body).square().sum().backward()
    assert all(counter == 1 for counter in _counters(sparing.layer1[:1]))
    _assert_equal(plain, sparing)


def test_switched_on_in_a_detector() -> None:
    target = {"boxes": torch.tensor([[4.0, 6, 30, 40]]), "labels": torch.tensor([1])}
    gradients = []
    for on in (False, True):
        model = small_model(norm="bn").train()
        model.backbone.body.activation_checkpointing = on
        torch.stack(list(model(list(_images()), [target, target]).values())).sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
