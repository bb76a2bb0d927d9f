"""The network: published names and sizes of the weights, losses and detections of every preset."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from fcos.models import FCOS, LOSS_NAMES, VARIANTS, ModelConfig
from fcos.models.norm import FrozenBatchNorm2d
from fcos.structures import join_ground_truth, pad_images

from .helpers import count_multiply_adds, small_model


def _coco_model(preset: str, norm: str = "frozen_bn") -> FCOS:
    names = tuple(str(i) for i in range(91))
    with torch.device("meta"):
        return FCOS(ModelConfig(names, tuple(range(91)), preset=preset, norm=norm))


def test_weight_names_and_counts_are_torchvisions() -> None:
    """fcos_resnet50_fpn: 319 tensors, 32,269,600 parameters, and a name from each part."""
    model = _coco_model("torchvision")
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert len(shapes) == 319
    assert sum(p.numel() for p in model.parameters()) == 32_269_600
    expected = {
        "backbone.body.conv1.weight": (64, 3, 7, 7),
        "backbone.body.bn1.running_var": (64,),
        "backbone.body.layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "backbone.body.layer2.3.conv2.weight": (128, 128, 3, 3),
        "backbone.body.layer3.5.bn3.bias": (1024,),
        "backbone.body.layer4.2.conv3.weight": (2048, 512, 1, 1),
        "backbone.body.layer4.0.downsample.1.running_mean": (2048,),
        "backbone.fpn.inner_blocks.0.0.weight": (256, 512, 1, 1),
        "backbone.fpn.inner_blocks.2.0.bias": (256,),
        "backbone.fpn.layer_blocks.1.0.weight": (256, 256, 3, 3),
        "backbone.fpn.extra_blocks.p6.weight": (256, 256, 3, 3),
        "backbone.fpn.extra_blocks.p7.bias": (256,),
        "head.classification_head.conv.9.weight": (256, 256, 3, 3),
        "head.classification_head.conv.10.weight": (256,),
        "head.classification_head.cls_logits.weight": (91, 256, 3, 3),
        "head.regression_head.conv.0.bias": (256,),
        "head.regression_head.bbox_reg.weight": (4, 256, 3, 3),
        "head.regression_head.bbox_ctrness.bias": (1,),
    }
    assert {name: shapes.get(name) for name in expected} == expected


def test_batch_norm_adds_its_counters_and_improved_adds_scales() -> None:
    assert len(_coco_model("torchvision", norm="bn").state_dict()) == 372
    extra = set(_coco_model("improved").state_dict()) - set(_coco_model("torchvision").state_dict())
    assert extra == {f"head.regression_head.scales.{level}.scale" for level in range(5)}


def test_published_multiply_adds() -> None:
    """torchvision's page says 128.207 billion; the side of the image, 800, is found by trial."""
    model = _coco_model("torchvision")
    network = torch.nn.Sequential(model.backbone, model.head)
    images = torch.zeros(1, 3, 800, 800, device="meta")
    assert round(count_multiply_adds(network, images) / 1e9, 3) == 128.207


def test_frozen_batch_norm_equals_batch_norm_in_evaluation() -> None:
    norm = torch.nn.BatchNorm2d(6).eval()
    for value in norm.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 2)
    frozen = FrozenBatchNorm2d(6).train()
    frozen.load_state_dict(norm.state_dict())
    x = torch.randn(2, 6, 5, 4)
    torch.testing.assert_close(frozen(x), norm(x))
    assert not list(frozen.parameters())


def test_level_sizes_halve_rounding_up() -> None:
    model = small_model().eval()
    with torch.no_grad():
        output = model.head(model.backbone(torch.zeros(1, 3, 96, 160)))
    sizes = [tuple(m.shape[2:]) for m in output.classification]
    assert sizes == [(12, 20), (6, 10), (3, 5), (2, 3), (1, 2)]


def test_prior_bias_makes_every_class_unlikely() -> None:
    bias = small_model().head.classification_head.cls_logits.bias
    assert bias.sigmoid().tolist() == pytest.approx([0.01] * 3)
    assert bias[0].item() == pytest.approx(-math.log(99))


def _batch(count: int = 2):  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(1)
    return pad_images([torch.randn(3, 64, 90, generator=generator) for _ in range(count)])


BOXES = torch.tensor([[4.0, 6, 30, 40], [30, 8, 88, 60]])


@pytest.mark.parametrize("preset", sorted(VARIANTS))
@pytest.mark.parametrize("filled", ["both", "one", "none"])
def test_losses_and_gradients_are_finite(preset: str, filled: str) -> None:
    """Images without boxes are ordinary: finite losses, and every weight gets a gradient."""
    model = small_model(preset=preset).train()
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    full = {"boxes": BOXES, "labels": torch.tensor([0, 2])}
    targets = {"both": [full, full], "one": [empty, full], "none": [empty, empty]}[filled]
    losses = model(_batch(), targets)
    assert tuple(losses) == LOSS_NAMES
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    if filled == "none":
        assert losses["bbox_regression"] == 0 and losses["bbox_ctrness"] == 0
    else:
        assert losses["bbox_regression"] > 0 and losses["bbox_ctrness"] > 0


def test_moving_normalizer_follows_the_positives() -> None:
    model = small_model(preset="detectron2").train()
    full = {"boxes": BOXES, "labels": torch.tensor([0, 2])}
    sum(model(_batch(), [full, full]).values()).backward()
    count = (model.loss_normalizer.item() - 0.9 * 300) / 0.1
    assert count == pytest.approx(round(count), abs=0.01) and count >= 1
    assert "loss_normalizer" in model.state_dict()


def test_training_wants_targets_for_every_image() -> None:
    model = small_model().train()
    with pytest.raises(ValueError, match="targets must be given"):
        model(_batch())
    with pytest.raises(ValueError, match="targets must be of 2 images, got 1"):
        model(_batch(), join_ground_truth([BOXES], [torch.tensor([0, 1])]))
    with pytest.raises(ValueError, match=r"boxes\[0\]"):
        join_ground_truth([BOXES], [torch.tensor([0])])


@pytest.mark.parametrize("preset", sorted(VARIANTS))
def test_detections_lie_in_the_unpadded_image(preset: str) -> None:
    model = small_model(preset=preset).eval()
    torch.nn.init.constant_(model.head.classification_head.cls_logits.bias, 2.0)
    with torch.no_grad():
        found = model([torch.randn(3, 64, 90), torch.randn(3, 40, 40)])
    assert found.boxes.shape == (2, 100, 4)
    assert (found.count > 0).all()
    for image, (height, width) in enumerate([(64, 90), (40, 40)]):
        boxes = found.boxes[image, : found.count[image]]
        assert (boxes >= 0).all()
        assert (boxes[:, [0, 2]] <= width).all() and (boxes[:, [1, 3]] <= height).all()
        scores = found.scores[image, : found.count[image]]
        assert (scores[:-1] >= scores[1:]).all()


def test_images_of_a_wrong_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images\[1\]"):
        small_model().eval()([torch.zeros(3, 32, 32), torch.zeros(1, 32, 32)])
    with pytest.raises(ValueError, match="at least one image"):
        small_model().eval()([])


def test_config_round_trip() -> None:
    config = small_model(preset="paper").config
    assert ModelConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "other"}, "preset"),
        ({"class_names": ("a",)}, "class_names"),
        ({"backbone": "vgg"}, "backbone"),
        ({"backbone": "resnext50_32x4d"}, "backbone_width must be a multiple of 16.*got 8"),
        ({"stride_in_1x1": True}, "stride_in_1x1 must be False, as resnet18"),
        ({"stride_in_1x1": 1}, "stride_in_1x1 must be True or False, got 1"),
        ({"norm": "none"}, "norm"),
        ({"norm": "sync_bn", "norm_eps": 0}, "norm_eps must be a number above 0 .*got 0"),
        ({"norm": "frozen_bn", "norm_eps": -1e-5}, "norm_eps must be a number at least 0"),
        ({"norm_eps": float("nan")}, "norm_eps must be .*got nan"),
        ({"norm_eps": "small"}, "norm_eps must be .*got 'small'"),
        (
            {"head_norm": "frozen_bn"},
            r"head_norm must be one of \['gn', 'bn', 'sync_bn', 'none'\]",
        ),
        ({"freeze_at": 6}, "freeze_at must be a whole number from 0 to 5, got 6"),
        (
            {"variant": VARIANTS["paper"]._replace(activation="silu")},
            "variant: activation must be .*silu",
        ),
        ({"variant": VARIANTS["paper"]._replace(scale=None)}, "variant: scale must be .*None"),
    ],
)
def test_config_checks(changes: dict[str, Any], message: str) -> None:
    """By the config itself, whatever the network would say."""
    config = small_model().config
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(config, **changes)


def test_frozen_norms_may_have_no_eps() -> None:
    config = small_model(norm="frozen_bn", norm_eps=0.0, head_norm="none").config
    assert ModelConfig.from_dict(config.to_dict()) == config


def test_names_of_categories() -> None:
    config = small_model(class_names=("", "", "hat"), category_ids=(None, 7, 40)).config
    assert [config.category_name(channel) for channel in (1, 2)] == ["category 7", "hat"]


@pytest.mark.parametrize("size", [(32, 32), (96, 64), (64, 96)])
def test_bfloat16_gradients_of_maps_of_one_column(size: tuple[int, int]) -> None:
    """torch leaves some of them unset: they are whatever the memory held, here NaN."""
    extra = small_model().backbone.fpn.extra_blocks
    coarsest = torch.randn(2, 16, -(-size[0] // 32), -(-size[1] // 32))
    exact = torch.autograd.grad(sum(x.sum() for x in extra(coarsest)), list(extra.parameters()))
    garbage = [torch.full((n,), torch.nan) for n in (1024, 4096, 16384) for _ in range(40)]
    del garbage
    with torch.autocast("cpu", torch.bfloat16):
        loss = sum(x.float().sum() for x in extra(coarsest))
    rounded = torch.autograd.grad(loss, list(extra.parameters()))
    for ours, expected in zip(rounded, exact, strict=True):
        assert (ours - expected).norm() <= 0.03 * expected.norm()  # of sums of 8 bits
