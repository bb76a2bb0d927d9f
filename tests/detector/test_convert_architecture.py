"""The network that weights under our names are of, at its published size."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from fcos.errors import UserError
from fcos.models import FCOS, VARIANTS, ModelConfig
from fcos.names import BackboneName
from fcos.weights.architecture import architecture
from fcos.weights.conversion import with_levels

from fcos_ops import ASSIGNMENT_RULES


def _config(**fields: Any) -> ModelConfig:
    return ModelConfig(class_names=("",) * 7, category_ids=tuple(range(7)), **fields)


def _state(config: ModelConfig) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return FCOS(config).state_dict()


@pytest.mark.parametrize("backbone", get_args(BackboneName))
def test_every_backbone_is_told_by_its_blocks_and_groups(backbone: str) -> None:
    found = architecture(_state(_config(backbone=backbone, norm="frozen_bn")))
    assert (found.backbone, found.backbone_width, found.norm) == (backbone, 64, "frozen_bn")


def test_a_wide_resnet_is_not_a_resnet() -> None:
    state = _state(_config(backbone="resnet50", norm="frozen_bn"))
    state["backbone.body.layer1.0.conv2.weight"] = torch.zeros(128, 128, 3, 3)
    with pytest.raises(UserError, match=r"got stages of \[3, 4, 6, 3\] blocks, 1 groups of 128 "):
        architecture(state)


@pytest.mark.parametrize(
    "fields",
    [
        {"norm": "bn", "width": 128, "depth": 2},
        {"extra_levels": "c5", "backbone_width": 16},
        {"head_norm": "bn"},
        {"head_norm": "none"},
        {"preset": "torchvision"},
        {"variant": VARIANTS["improved"]._replace(conv_bias=False)},
        {"assignment": with_levels(ASSIGNMENT_RULES["improved"], 3)},
    ],
    ids=str,
)
def test_what_shows_in_the_weights_is_read(fields: dict[str, Any]) -> None:
    config = _config(backbone="resnet18", **{"norm": "frozen_bn", **fields})
    found = architecture(_state(config))
    for name in ("norm", "width", "depth", "extra_levels", "backbone_width", "head_norm"):
        assert getattr(found, name) == getattr(config, name), name
    assert found.num_classes == 7
    assert found.num_levels == config.num_levels
    assert (found.scale, found.conv_bias) == (config.variant.scale, config.variant.conv_bias)
