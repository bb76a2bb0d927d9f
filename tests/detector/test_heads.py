"""Towers with every norm, the pyramid's levels, and batches that are too small for batch norms."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest
import torch
from fcos.errors import UserError
from fcos.models import VARIANTS, ModelConfig
from fcos.models.batch_size import check_batch
from fcos.models.fpn import FPN
from fcos.models.head import Head
from fcos.names import HeadNormName
from torch import Tensor, nn

from fcos_ops import ASSIGNMENT_RULES

from .helpers import small_model


def _head(norm: Any, levels: int = 5, preset: str = "improved", depth: int = 4) -> Head:
    torch.manual_seed(0)
    return Head(16, depth, 3, VARIANTS[preset], levels, norm)


def _pyramid(levels: int = 5) -> list[Tensor]:
    """Every level with statistics of its own."""
    generator = torch.Generator().manual_seed(1)
    sides = [2 ** (levels - level) for level in range(levels)]
    maps = [torch.randn(2, 16, side, side, generator=generator) for side in sides]
    return [(level + 1) * m + level for level, m in enumerate(maps)]


def _tower_names(head: Head) -> set[str]:
    names = head.classification_head.conv.state_dict()
    assert list(names) == list(head.regression_head.conv.state_dict())
    return set(names)


def test_names_of_tower_weights() -> None:
    """Convolutions keep theirs with every norm; batch norms are one a level, as in AdelaiDet."""
    convolutions = {f"{i}.{what}" for i in (0, 3, 6, 9) for what in ("weight", "bias")}
    group_norms = {f"{i}.{what}" for i in (1, 4, 7, 10) for what in ("weight", "bias")}
    tensors = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    batch_norms = {
        f"{i}.{level}.{what}" for i in (1, 4, 7, 10) for level in range(5) for what in tensors
    }
    assert _tower_names(_head("gn")) == convolutions | group_norms
    assert _tower_names(_head("none")) == convolutions
    for norm in ("bn", "sync_bn"):
        assert _tower_names(_head(norm)) == convolutions | batch_norms
    biasless = {name for name in convolutions if name.endswith("weight")}
    assert _tower_names(_head("gn", preset="mmdet")) == biasless | group_norms
    with pytest.raises(ValueError, match=r"head_norm must be one of .* got 'frozen_bn'"):
        _head("frozen_bn")


@pytest.mark.parametrize("norm", ["bn", "sync_bn"])
@pytest.mark.parametrize("levels", [3, 5])
def test_batch_norms_have_the_statistics_of_their_level(norm: str, levels: int) -> None:
    head, pyramid = _head(norm, levels, depth=1).train(), _pyramid(levels)
    head(pyramid)
    for tower in (head.classification_head.conv, head.regression_head.conv):
        convolution, norms, _ = tower
        for level, feature in enumerate(pyramid):
            features = convolution(feature)
            assert norms[level].num_batches_tracked == 1
            # float32, and the running average has taken in a tenth
            mean = features.mean((0, 2, 3))
            torch.testing.assert_close(10 * norms[level].running_mean, mean, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(norms[0].running_mean, norms[1].running_mean)


def test_evaluation_takes_the_norm_of_the_level() -> None:
    head, pyramid = _head("bn", depth=1).eval(), _pyramid()
    for level, norm in enumerate(head.classification_head.conv[1]):
        nn.init.constant_(norm.bias, float(level + 1))
        nn.init.zeros_(norm.weight)
    nn.init.ones_(head.classification_head.cls_logits.weight)
    nn.init.zeros_(head.classification_head.cls_logits.bias)
    for level, logits in enumerate(head(pyramid).classification):
        assert logits[0, 0, 1, 1] == (level + 1) * 16 * (9 if min(logits.shape[2:]) > 2 else 4)


@pytest.mark.parametrize("norm", get_args(HeadNormName))
def test_every_norm_trains_and_detects(norm: str) -> None:
    model = small_model(head_norm=norm).train()
    images = [torch.randn(3, 64, 90) for _ in range(2)]
    target = {"boxes": torch.tensor([[4.0, 6, 30, 40]]), "labels": torch.tensor([1])}
    losses = model(images, [target, target])
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    with torch.no_grad():
        assert model.eval()(images).boxes.shape == (2, 100, 4)


@pytest.mark.parametrize("preset", sorted(VARIANTS))
def test_what_the_variant_switches(preset: str) -> None:
    """Activation, Scale, biases, and the tower that feeds centerness."""
    variant, pyramid = VARIANTS[preset], _pyramid()
    head = _head("gn", preset=preset, depth=1)
    assert (head.regression_head.conv[0].bias is not None) == variant.conv_bias
    assert hasattr(head.regression_head, "scales") == variant.scale
    nn.init.normal_(head.regression_head.bbox_reg.weight)
    before = head(pyramid)
    raw = head.regression_head.bbox_reg(head.regression_head.conv(pyramid[1], 1))
    factor = 1.0
    if variant.scale:
        factor = 0.5
        nn.init.constant_(head.regression_head.scales[1].scale, factor)
    after = head(pyramid)
    expected = (factor * raw).exp() if variant.activation == "exp" else (factor * raw).relu()
    assert torch.equal(after.ltrb[1], expected)
    assert torch.equal(after.ltrb[0], before.ltrb[0])
    nn.init.normal_(head.classification_head.conv[0].weight)
    moved = not torch.equal(head(pyramid).centerness[0], before.centerness[0])
    assert moved == (variant.centerness_tower == "classification")


@pytest.mark.parametrize(("extra", "levels"), [("p5", 5), ("c5", 5), (None, 3)])
def test_levels_of_the_pyramid(extra: str | None, levels: int) -> None:
    fpn = FPN((8, 16, 32), 4, extra)
    maps = [torch.randn(1, c, s, s) for c, s in ((8, 20), (16, 10), (32, 5))]
    found = fpn(maps)
    assert [tuple(m.shape) for m in found] == [(1, 4, s, s) for s in (20, 10, 5, 3, 2)][:levels]
    assert any(name.startswith("extra_blocks") for name in fpn.state_dict()) == (levels == 5)
    if extra is not None:
        blocks = fpn.extra_blocks
        source = maps[-1] if extra == "c5" else found[2]
        assert torch.equal(found[3], blocks.p6(source))
        assert torch.equal(found[4], blocks.p7(blocks.p6(source).relu()))


def test_pyramid_adds_the_coarser_level_at_the_size_of_the_finer() -> None:
    """Sizes that are odd: 5 x 7 above 3 x 4; nearest neighbours."""
    fpn = FPN((1, 1), 1, None)
    for module in fpn.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight)
    fine, coarse = torch.randn(1, 1, 5, 7), torch.randn(1, 1, 3, 4)
    rows, columns = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([0, 0, 1, 1, 2, 2, 3])
    expected = fine + coarse[:, :, rows][:, :, :, columns]
    assert torch.equal(fpn([fine, coarse])[0], expected)
    assert torch.equal(fpn([fine, coarse])[1], coarse)


def _three_levels() -> dict[str, Any]:
    rule = ASSIGNMENT_RULES["improved"]
    return {"assignment": rule._replace(ranges=rule.ranges[:3])}


@pytest.mark.parametrize(
    ("changes", "size", "count", "message"),
    [
        ({"norm": "bn"}, 32, 1, "norm bn .* 32 x 32 .* stride 32: take --norm gn, a larger"),
        ({"norm": "sync_bn"}, 32, 1, "norm sync_bn .* stride 32"),
        ({"norm": "bn"}, 64, 1, ""),
        ({"norm": "bn"}, 32, 2, ""),
        ({"norm": "bn", "freeze_at": 4}, 32, 1, "norm bn"),
        ({"norm": "bn", "freeze_at": 5}, 32, 1, ""),
        ({"norm": "frozen_bn"}, 32, 1, ""),
        ({"head_norm": "none"}, 32, 1, ""),
        (
            {"head_norm": "bn"},
            128,
            1,
            "head-norm bn .* 128 x 128 .* stride 128: take --head-norm gn",
        ),
        ({"head_norm": "sync_bn"}, 96, 1, "head-norm sync_bn"),
        ({"head_norm": "bn"}, 160, 1, ""),
        ({"head_norm": "bn"}, 128, 2, ""),
        ({"head_norm": "bn", **_three_levels()}, 64, 1, ""),
        ({"head_norm": "bn", **_three_levels()}, 32, 1, "stride 32"),
    ],
)
def test_batches_too_small_for_batch_norms(
    changes: dict[str, Any], size: int, count: int, message: str
) -> None:
    """Refused where torch refuses to train, and only there."""
    model = small_model(**changes).train()
    images = torch.randn(count, 3, size, size)
    if message:
        with pytest.raises(UserError, match=message):
            check_batch(model.config, images)
        with pytest.raises(ValueError, match=re.escape("more than 1 value per channel")):
            model.head(model.backbone(images))
    else:
        check_batch(model.config, images)
        model.head(model.backbone(images))


def test_other_processes_have_values_for_synchronised_norms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    image = torch.zeros(1, 3, 32, 32)
    check_batch(small_model(norm="sync_bn", head_norm="sync_bn").config, image)
    for norms in ({"norm": "bn"}, {"head_norm": "bn"}):
        with pytest.raises(UserError, match="more than one value"):
            check_batch(small_model(**norms).config, image)


def test_group_norms_of_the_towers_are_the_published_ones() -> None:
    config = ModelConfig(("a",), (1,))
    with torch.device("meta"):
        head = Head(config.width, config.depth, 1, config.variant)
    norm = head.classification_head.conv[1]
    assert isinstance(norm, nn.GroupNorm) and (norm.num_groups, norm.eps) == (32, 1e-5)
