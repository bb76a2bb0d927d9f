"""Backbones: published sizes, names of the weights, place of the stride, norms, thin networks."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from fcos.models import FCOS, ModelConfig
from fcos.models.norm import FrozenBatchNorm2d
from fcos.models.resnet import ResNet
from fcos.names import BackboneName
from torch import nn

from .helpers import count_multiply_adds

# Parameters and billions of multiply-adds at 224 x 224 on torchvision's model pages, both with the
# classifier of 1000 classes; tensors of our state, without it; channels of C3, C4, C5.
PUBLISHED = {
    "resnet18": (11_689_512, 1.814, 120, (128, 256, 512)),
    "resnet34": (21_797_672, 3.664, 216, (128, 256, 512)),
    "resnet50": (25_557_032, 4.089, 318, (512, 1024, 2048)),
    "resnet101": (44_549_160, 7.801, 624, (512, 1024, 2048)),
    "resnet152": (60_192_808, 11.514, 930, (512, 1024, 2048)),
    "resnext50_32x4d": (25_028_904, 4.230, 318, (512, 1024, 2048)),
    "resnext101_32x8d": (88_791_336, 16.414, 624, (512, 1024, 2048)),
    "resnext101_64x4d": (83_455_272, 15.460, 624, (512, 1024, 2048)),
}


def test_every_backbone_has_a_published_size() -> None:
    assert set(PUBLISHED) == set(get_args(BackboneName))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name: Any) -> None:
    parameters, billions, tensors, channels = PUBLISHED[name]
    with torch.device("meta"):
        body = ResNet(name)
        multiply_adds = count_multiply_adds(body, torch.zeros(1, 3, 224, 224))
    features = channels[-1]
    assert sum(p.numel() for p in body.parameters()) + features * 1000 + 1000 == parameters
    assert round((multiply_adds + features * 1000) / 1e9, 3) == billions
    assert len(body.state_dict()) == tensors
    assert body.out_channels == channels


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet34", {"layer4.2.conv2.weight": (512, 512, 3, 3)}),
        ("resnet101", {"layer3.22.conv3.weight": (1024, 256, 1, 1)}),
        ("resnet152", {"layer2.7.conv2.weight": (128, 128, 3, 3), "layer3.35.bn3.bias": (1024,)}),
        (
            "resnext50_32x4d",
            {
                "layer1.0.conv2.weight": (128, 4, 3, 3),
                "layer1.0.downsample.0.weight": (256, 64, 1, 1),
                "layer4.2.bn2.running_mean": (1024,),
            },
        ),
        (
            "resnext101_32x8d",
            {"layer1.0.conv1.weight": (256, 64, 1, 1), "layer4.0.conv2.weight": (2048, 64, 3, 3)},
        ),
        (
            "resnext101_64x4d",
            {"layer1.0.conv2.weight": (256, 4, 3, 3), "layer3.22.conv3.weight": (1024, 1024, 1, 1)},
        ),
    ],
)
def test_names_and_shapes(name: Any, expected: dict[str, tuple[int, ...]]) -> None:
    with torch.device("meta"):
        state = ResNet(name).state_dict()
    assert {key: tuple(state[key].shape) for key in expected} == expected


@pytest.mark.parametrize("name", PUBLISHED)
def test_thin_backbones(name: Any) -> None:
    """A quarter of the width, in the stem and in every block; the groups stay as many."""
    body = ResNet(name, "gn", 16).eval()
    channels = tuple(c // 4 for c in PUBLISHED[name][3])
    assert body.conv1.out_channels == 16 and body.out_channels == channels
    with torch.no_grad():
        maps = body(torch.zeros(1, 3, 64, 96))
    assert [m.shape[1:] for m in maps] == [
        (c, 64 // s, 96 // s) for c, s in zip(channels, (8, 16, 32), strict=True)
    ]
    with torch.device("meta"):
        full = ResNet(name)
    assert body.layer3[0].conv2.groups == full.layer3[0].conv2.groups
    assert 4 * body.layer3[0].conv2.out_channels == full.layer3[0].conv2.out_channels


@pytest.mark.parametrize(
    ("name", "in_1x1", "strides"),
    [("resnet50", False, (1, 2)), ("resnet50", True, (2, 1)), ("resnext101_32x8d", True, (2, 1))],
)
def test_place_of_the_stride(name: Any, in_1x1: bool, strides: tuple[int, int]) -> None:
    with torch.device("meta"):
        body = ResNet(name, stride_in_1x1=in_1x1)
        maps = body(torch.zeros(1, 3, 64, 96))
    for number, layer in enumerate((body.layer1, body.layer2, body.layer3, body.layer4)):
        of_first = (1, 1) if number == 0 else strides
        for index, block in enumerate(layer):
            expected = (1, 1) if index else of_first
            assert (block.conv1.stride[0], block.conv2.stride[0]) == expected
    assert [m.shape[2:] for m in maps] == [(8, 12), (4, 6), (2, 3)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "resnet18", "stride_in_1x1": True}, "stride_in_1x1 must be False.*resnet18"),
        ({"name": "vgg"}, "backbone must be one of .*resnext101_64x4d.*got 'vgg'"),
        ({"name": "resnet18", "width": 0}, "backbone_width must be a positive.*got 0"),
        (
            {"name": "resnext50_32x4d", "width": 24},
            "backbone_width must be a multiple of 16.*got 24",
        ),
        (
            {"name": "resnext101_32x8d", "width": 12},
            "backbone_width must be a multiple of 8.*got 12",
        ),
        ({"name": "resnet18", "norm": "none"}, "norm must be one of .*sync_bn.*got 'none'"),
    ],
)
def test_what_cannot_be_built(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResNet(**changes)


@pytest.mark.parametrize("norm", ["bn", "sync_bn", "frozen_bn", "gn"])
def test_eps_reaches_every_norm(norm: Any) -> None:
    kinds = (nn.BatchNorm2d, nn.SyncBatchNorm, FrozenBatchNorm2d, nn.GroupNorm)
    with torch.device("meta"):
        body = ResNet("resnet18", norm, norm_eps=3e-4, freeze_at=2)
    norms = [module for module in body.modules() if isinstance(module, kinds)]
    assert len(norms) == 20
    assert {module.eps for module in norms} == {3e-4}


def test_frozen_norm_without_eps() -> None:
    """fcos_core adds nothing to the variance: a small variance makes the difference."""
    norm = FrozenBatchNorm2d(1, eps=0)
    norm.running_var.fill_(2.0**-20)
    assert norm(torch.ones(1, 1, 1, 1)).item() == 2.0**10


@pytest.mark.parametrize("norm", ["bn", "sync_bn"])
def test_weights_load_with_another_batch_norm(norm: Any) -> None:
    """Frozen ones lack the counter of batches; both ways the weights arrive."""
    source, frozen = ResNet("resnet18", norm, 8), ResNet("resnet18", "frozen_bn", 8)
    for value in source.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 2)
    frozen.load_state_dict(source.state_dict())
    back = ResNet("resnet18", norm, 8)
    back.load_state_dict(frozen.state_dict())
    back.load_state_dict(dict(frozen.state_dict()))  # as a file has it: without versions
    expected = source.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in back.state_dict().items())


@pytest.mark.parametrize(
    ("backbone", "parameters"),
    # of fcos_resnet50_fpn, 32,269,600, whose frozen norms count 53,120 numbers less, and the
    # difference of the classification networks in the table above
    [
        ("resnet50", 32_322_720),
        ("resnet101", 32_322_720 + 44_549_160 - 25_557_032),
        ("resnext101_32x8d", 32_322_720 + 88_791_336 - 25_557_032),
        ("resnext101_64x4d", 32_322_720 + 83_455_272 - 25_557_032),
    ],
)
def test_detectors_of_full_size(backbone: Any, parameters: int) -> None:
    with torch.device("meta"):
        names = tuple(str(i) for i in range(91))
        model = FCOS(ModelConfig(names, tuple(range(91)), "torchvision", backbone=backbone))
        output = model.head(model.backbone(torch.zeros(1, 3, 160, 224)))
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert [tuple(m.shape) for m in output.classification] == [
        (1, 91, h, w) for h, w in ((20, 28), (10, 14), (5, 7), (3, 4), (2, 2))
    ]
