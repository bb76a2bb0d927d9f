"""The detector's group norms: fcos_ops.group_norm in the place of torch's module and a ReLU."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fcos.models import VARIANTS
from fcos.models.head import Head, Tower
from fcos.models.norm import GroupNorm, norm_relu
from fcos.models.resnet import Bottleneck, ResNet
from torch import Tensor, nn

import fcos_ops

from .helpers import small_model

# float64 all the way: sums in another order, and some ten layers on top of each other
_CLOSE: dict[str, float] = {"rtol": 1e-9, "atol": 1e-9}
_TARGET = {"boxes": torch.tensor([[4.0, 6, 30, 40]]), "labels": torch.tensor([1])}


def _varied(module: nn.Module) -> nn.Module:
    """`module` with norms that are not the identity: all of what they can get wrong shows."""
    generator = torch.Generator().manual_seed(2)
    for norm in module.modules():
        if isinstance(norm, nn.GroupNorm):
            nn.init.uniform_(norm.weight, 0.5, 1.5, generator)
            nn.init.normal_(norm.bias, std=0.5, generator=generator)
    return module


def _pyramid(channels: int = 16, levels: int = 5, dtype: torch.dtype = torch.float64) -> Any:
    """Levels with statistics of their own; gradients are wanted."""
    generator = torch.Generator().manual_seed(1)
    maps = []
    for level in range(levels):
        side = 2 ** (levels - level)
        noise = torch.randn(2, channels, side, side + 1, generator=generator, dtype=dtype)
        maps.append(((level + 1) * noise + level).requires_grad_())
    return maps


def _torch_norms(module: nn.Module) -> nn.Module:
    """A copy of `module` with torch's group norms, whose weights it loads."""
    other = copy.deepcopy(module)
    for parent in list(other.modules()):
        for name, norm in parent.named_children():
            if isinstance(norm, GroupNorm):
                plain = nn.GroupNorm(norm.num_groups, norm.num_channels, norm.eps).double()
                plain.load_state_dict(norm.state_dict())
                setattr(parent, name, plain)
    return other


def _assert_same_gradients(ours: nn.Module, theirs: nn.Module) -> None:
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None, name
        torch.testing.assert_close(one.grad, other.grad, **_CLOSE)


@pytest.mark.parametrize("activation", [None, "relu"])
def test_the_module_is_that_of_torch(activation: str | None) -> None:
    """It loads and saves its weights, and computes the same, of one map and of each of several."""
    ours = _varied(GroupNorm(4, 16, 1e-3).double())
    theirs = nn.GroupNorm(4, 16, 1e-3).double()
    theirs.load_state_dict(ours.state_dict())
    assert repr(ours) == repr(theirs)
    maps = _pyramid()
    expected = [F.relu(theirs(x)) if activation else theirs(x) for x in maps]
    for found in (ours(maps, activation), [ours(x, activation) for x in maps]):
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, **_CLOSE)


def test_a_tower_is_convolution_norm_and_relu_of_each_level() -> None:
    tower = _varied(Tower(16, 3, 5, "gn", conv_bias=True).double())
    layers: list[nn.Module] = []
    for convolution, norm in zip(list(tower)[0::3], list(tower)[1::3], strict=True):
        layers += [convolution, norm, nn.ReLU()]
    plain = _torch_norms(nn.Sequential(*layers))
    maps, same_maps = _pyramid(), _pyramid()
    found, expected = tower(maps), [plain(x) for x in same_maps]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **_CLOSE)
    torch.stack([x.square().sum() for x in found]).sum().backward()
    torch.stack([x.square().sum() for x in expected]).sum().backward()
    _assert_same_gradients(tower, plain)
    for one, other in zip(maps, same_maps, strict=True):
        torch.testing.assert_close(one.grad, other.grad, **_CLOSE)


@pytest.mark.parametrize("training", [False, True])
def test_a_layer_of_the_head_is_one_call(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, Any]] = []
    group_norm = fcos_ops.group_norm

    def counted(maps: Any, *args: Any, **options: Any) -> Any:
        calls.append((len(maps), options["activation"]))
        return group_norm(maps, *args, **options)

    monkeypatch.setattr(fcos_ops, "group_norm", counted)
    depth = 3
    head = Head(16, depth, 3, VARIANTS["improved"]).train(training)
    with torch.set_grad_enabled(training):
        head(_pyramid(dtype=torch.float32))
    assert calls == 2 * depth * [(5, "relu")]


def _residual(block: Any, x: Tensor) -> Tensor:
    """A block as it was published: a ReLU behind every norm but the last and the shortcut's, and
    one behind their sum."""
    shortcut = x if block.downsample is None else block.downsample(x)
    layers = [(block.conv1, block.bn1), (block.conv2, block.bn2)]
    if isinstance(block, Bottleneck):
        layers.append((block.conv3, block.bn3))
    for convolution, norm in layers[:-1]:
        x = norm(convolution(x)).relu()
    convolution, norm = layers[-1]
    return (norm(convolution(x)) + shortcut).relu()


def _published(body: ResNet, x: Tensor) -> list[Tensor]:
    x = body.maxpool(body.bn1(body.conv1(x)).relu())
    maps = []
    for layer in (body.layer1, body.layer2, body.layer3, body.layer4):
        for block in layer:
            x = _residual(block, x)
        maps.append(x)
    return maps[1:]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_backbone_is_the_published_one_with_norms_of_torch(name: Any) -> None:
    torch.manual_seed(0)
    ours = _varied(ResNet(name, "gn", 16).double())
    theirs = _torch_norms(ours)
    assert not any(isinstance(module, GroupNorm) for module in theirs.modules())
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    found, expected = ours(images), _published(theirs, images)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **_CLOSE)
    torch.stack([x.square().mean() for x in found]).sum().backward()
    torch.stack([x.square().mean() for x in expected]).sum().backward()
    _assert_same_gradients(ours, theirs)


def test_the_relu_behind_any_norm() -> None:
    x = torch.randn(2, 16, 4, 4)
    for norm in (nn.BatchNorm2d(16), nn.Identity(), GroupNorm(4, 16)):
        expected = norm(x).relu()
        assert torch.equal(norm_relu(norm, x.clone()), expected)


def _watched(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """First input and first result of every call of a group norm, once the model has run."""
    seen: list[tuple[Tensor, Tensor]] = []

    def see(module: nn.Module, inputs: tuple[Any, ...], result: Any) -> None:
        maps = inputs[0] if isinstance(inputs[0], list) else [inputs[0]]
        results = result if isinstance(result, list) else [result]
        seen.extend(zip(maps, results, strict=True))

    for module in model.modules():
        if isinstance(module, GroupNorm):
            module.register_forward_hook(see)
    return seen


def test_autocast_stays_in_bfloat16() -> None:
    """Also in the norms, which torch's would leave as float32."""
    model = small_model(depth=2).train()
    seen = _watched(model)
    with torch.autocast("cpu", torch.bfloat16):
        output = model.head(model.backbone(torch.randn(2, 3, 128, 160)))
    assert len(seen) == 20 + 2 * 2 * 5
    for x, y in seen:
        assert x.dtype == y.dtype == torch.bfloat16
    assert all(x.dtype == torch.bfloat16 for x in output.classification + output.centerness)
    torch.stack([x.float().sum() for maps in output for x in maps]).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.dtype == torch.float32, name


def test_channels_last_is_kept() -> None:
    model = small_model(depth=2).to(memory_format=torch.channels_last)
    seen = _watched(model)
    images = torch.randn(2, 3, 256, 320).contiguous(memory_format=torch.channels_last)
    model.head(model.backbone(images))
    assert seen
    for x, y in seen:
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert y.stride() == x.stride()


def test_the_reference_computes_the_same() -> None:
    """As it does where the native library is missing."""
    generator = torch.Generator().manual_seed(1)
    images = [torch.randn(3, 64, 90, generator=generator).double() for _ in range(2)]
    results = []
    for backend in ("native", "reference"):
        model = _varied(small_model()).double().train()
        with fcos_ops.backend(backend):
            losses = torch.stack(list(model(images, [_TARGET, _TARGET]).values()))
            losses.sum().backward()
        results.append([losses, *(parameter.grad for parameter in model.parameters())])
    for one, other in zip(*results, strict=True):
        # the distances that the head predicts are float32
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_network_without_memory(backend: str) -> None:
    with torch.device("meta"):
        model = small_model()
        images = torch.empty(2, 3, 64, 96)
    with fcos_ops.backend(backend):
        output = model.head(model.backbone(images))
    assert [tuple(x.shape[2:]) for x in output.ltrb] == [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]
    assert all(x.is_meta for maps in output for x in maps)
