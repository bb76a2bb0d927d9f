"""The backbones are torchvision's: names and shapes of the weights, sizes, outputs."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from fcos.models.resnet import ResNet
from fcos.names import BackboneName
from torch import nn

from ..detector.helpers import count_multiply_adds

pytestmark = pytest.mark.torchvision
models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")


@pytest.mark.parametrize("name", get_args(BackboneName))
def test_names_shapes_and_published_sizes(name: Any) -> None:
    with torch.device("meta"):
        ours, theirs = ResNet(name), models.get_model(name)
        images = torch.zeros(1, 3, 224, 224)
    published = models.get_model_weights(name)["IMAGENET1K_V1"].meta
    expected = {n: v.shape for n, v in theirs.state_dict().items() if not n.startswith("fc.")}
    assert {n: v.shape for n, v in ours.state_dict().items()} == expected
    classifier = sum(p.numel() for p in theirs.fc.parameters())
    assert sum(p.numel() for p in ours.parameters()) + classifier == published["num_params"]
    multiply_adds = count_multiply_adds(ours, images) + theirs.fc.weight.numel()
    assert round(multiply_adds / 1e9, 3) == published["_ops"]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d"])
@pytest.mark.parametrize("norm", ["bn", "frozen_bn"])
def test_outputs(name: Any, norm: Any) -> None:
    torch.manual_seed(0)
    theirs = models.get_model(name).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight.data, module.running_var):
                value.uniform_(0.5, 1.5)
            for value in (module.bias.data, module.running_mean):
                value.normal_(std=0.1)
    ours = ResNet(name, norm, freeze_at=2).eval()
    missing, unknown = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not missing and set(unknown) == {"fc.weight", "fc.bias"}
    images = torch.randn(2, 3, 65, 98)
    with torch.no_grad():
        maps = ours(images)
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
        for layer in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
            x = layer(x)
            if layer is not theirs.layer1:
                # frozen norms multiply scale and shift out first: float32, 53 layers deep
                scale = x.abs().max().item()
                found = maps[(theirs.layer2, theirs.layer3, theirs.layer4).index(layer)]
                torch.testing.assert_close(found, x, rtol=0, atol=1e-5 * scale)
