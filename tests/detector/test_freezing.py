"""Stages of the backbone that are not trained: no gradients, and their statistics stand still."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fcos.models.resnet import ResNet

# what freeze_at counts: the stem, then a layer each
STAGES = [("conv1.", "bn1."), ("layer1.",), ("layer2.",), ("layer3.",), ("layer4.",)]


def _step(body: ResNet) -> None:
    """A forward and backward pass in training mode."""
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    maps = body.train()(images)
    if maps[-1].requires_grad:
        sum(m.square().mean() for m in maps).backward()


@pytest.mark.parametrize("norm", ["bn", "sync_bn", "gn", "frozen_bn"])
@pytest.mark.parametrize("freeze_at", range(6))
def test_frozen_stages(freeze_at: int, norm: Any) -> None:
    body = ResNet("resnet18", norm, 8, freeze_at=freeze_at)
    before = {name: buffer.clone() for name, buffer in body.named_buffers()}
    _step(body)
    frozen = tuple(prefix for stage in STAGES[:freeze_at] for prefix in stage)
    for name, parameter in body.named_parameters():
        assert parameter.requires_grad == (not name.startswith(frozen)), name
        assert (parameter.grad is not None) == parameter.requires_grad, name
    moves = norm in ("bn", "sync_bn")
    for name, buffer in body.named_buffers():
        stands = name.startswith(frozen) or not moves
        assert torch.equal(buffer, before[name]) == stands, name


def test_frozen_stages_apply_the_statistics_that_they_load() -> None:
    """A frozen stage in training computes what the whole network does in evaluation."""
    source = ResNet("resnet18", "bn", 8)
    for value in source.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1)
    body = ResNet("resnet18", "bn", 8, freeze_at=5)
    body.load_state_dict(source.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for found, expected in zip(body.train()(images), source.eval()(images), strict=True):
            # scale and shift are multiplied out in another order, in 17 layers
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["bn", "sync_bn", "gn"])
def test_weights_load_whatever_is_frozen(norm: Any) -> None:
    for one, other in [(0, 3), (3, 0)]:
        source = ResNet("resnet18", norm, 8, freeze_at=one)
        for value in source.state_dict().values():
            if value.is_floating_point():
                value.uniform_(0.5, 2)
        target = ResNet("resnet18", norm, 8, freeze_at=other)
        target.load_state_dict(source.state_dict())
        expected, found = source.state_dict(), target.state_dict()
        same = expected.keys() & found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in same)
        counters = expected.keys() ^ found.keys()
        assert all(name.endswith("num_batches_tracked") for name in counters)
