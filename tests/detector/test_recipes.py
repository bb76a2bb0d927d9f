"""Published schedules: rates, decays and lengths against tables written by hand from the programs'
configurations, and the optimizer that each program makes of its own."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from fcos.configuration import NAMES, Configuration, complete, merge
from fcos.names import PRESETS
from fcos.recipes import RECIPES
from fcos.training import TrainingSettings
from fcos.training.optimizer import make_optimizer
from fcos.training.schedule import learning_rate_factor

from .helpers import small_model

IMAGES = 117_266  # of COCO's train2017, those with boxes
SCALES_OF_DETECTRON2 = "640,672,704,736,768,800"
# preset, steps, gradient norm, scales, half precision
PUBLISHED = {
    "paper-1x": ("paper", 90_000, 0, None, "off"),
    "paper-2x": ("paper", 180_000, 0, "640-800", "off"),
    "adelaidet-1x": ("improved", 90_000, 0, None, "off"),
    "adelaidet-ms-2x": ("improved", 180_000, 0, SCALES_OF_DETECTRON2, "off"),
    "detectron2-1x": ("detectron2", 90_000, 0, SCALES_OF_DETECTRON2, "off"),
    "mmdet-1x": ("mmdet", 87_950, 35, None, "off"),  # 12 epochs
    "mmdet-ms-2x": ("mmdet", 175_899, 35, "640,800", "off"),
    "mmdet-tricks-1x": ("improved", 87_950, 0, None, "off"),
    "torchvision": ("torchvision", 190_558, 0, None, "bf16"),  # 26 epochs
}
# share of the base rate at steps
CONSTANT = {0: 1 / 3, 250: 1 / 3, 499: 1 / 3, 500: 1.0}
LINEAR_1000 = {0: 0.001, 500: 0.5005, 999: 0.999001, 1000: 1.0}
RATES = {
    "paper-1x": {**CONSTANT, 59_999: 1.0, 60_000: 0.1, 79_999: 0.1, 80_000: 0.01},
    "paper-2x": {**CONSTANT, 119_999: 1.0, 120_000: 0.1, 159_999: 0.1, 160_000: 0.01},
    "adelaidet-1x": {**LINEAR_1000, 59_999: 1.0, 60_000: 0.1, 79_999: 0.1, 80_000: 0.01},
    "adelaidet-ms-2x": {**LINEAR_1000, 119_999: 1.0, 120_000: 0.1, 160_000: 0.01},
    "detectron2-1x": {**LINEAR_1000, 59_999: 1.0, 60_000: 0.1, 79_999: 0.1, 80_000: 0.01},
    # epochs of 7330 steps there, as the last batch is not full; of 7329.1 here
    "mmdet-1x": {**CONSTANT, 58_600: 1.0, 58_700: 0.1, 80_600: 0.1, 80_700: 0.01},
    "mmdet-ms-2x": {**CONSTANT, 117_200: 1.0, 117_300: 0.1, 161_200: 0.1, 161_300: 0.01},
    "mmdet-tricks-1x": {0: 1 / 3, 250: 2 / 3, 500: 1.0, 58_600: 1.0, 58_700: 0.1, 80_700: 0.01},
    "torchvision": {**LINEAR_1000, 117_200: 1.0, 117_300: 0.1, 161_200: 0.1, 161_300: 0.01},
}
# of what kinds of weights: share of the base rate, share of the weight decay
KINDS = ("convolution", "bias", "norm weight", "norm bias", "scale")
FCOS_CORE = ((1, 1), (2, 0), (1, 1), (2, 0), (1, 1))
DETECTRON2 = ((1, 1), (1, 1), (1, 0), (1, 0), (1, 1))
MMDETECTION = ((1, 1), (2, 0), (1, 1), (1, 1), (1, 1))
GROUPS = {
    None: ((1, 1), (1, 0), (1, 0), (1, 0), (1, 0)),
    "paper-1x": FCOS_CORE,
    "paper-2x": FCOS_CORE,
    "adelaidet-1x": DETECTRON2,
    "adelaidet-ms-2x": DETECTRON2,
    "detectron2-1x": DETECTRON2,
    "mmdet-1x": MMDETECTION,
    "mmdet-ms-2x": MMDETECTION,
    "mmdet-tricks-1x": MMDETECTION,
    "torchvision": ((1, 1),) * 5,
}
# one weight of each kind, in a network whose stem and layer1 are frozen
EXAMPLES = {
    "backbone.body.layer2.0.conv1.weight": "convolution",
    "backbone.fpn.inner_blocks.0.0.weight": "convolution",
    "backbone.fpn.inner_blocks.0.0.bias": "bias",
    "backbone.fpn.extra_blocks.p6.bias": "bias",
    "head.classification_head.conv.0.bias": "bias",
    "head.classification_head.cls_logits.weight": "convolution",
    "head.classification_head.cls_logits.bias": "bias",
    "head.classification_head.conv.1.weight": "norm weight",
    "head.regression_head.conv.1.bias": "norm bias",
    "head.regression_head.scales.4.scale": "scale",
}


def _configuration(recipe: str | None) -> Configuration:
    return complete(merge({"recipe": recipe, "freeze_at": 2}, {}, {}), IMAGES)[0]


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_published(name: str) -> None:
    found = _configuration(name)
    preset, steps, clip, scales, amp = PUBLISHED[name]
    assert (found.preset, found.steps, found.clip, found.amp) == (preset, steps, clip, amp)
    assert RECIPES[name].get("scales") == scales and RECIPES[name]["aspect_groups"] is True
    assert (found.batch, found.lr, found.optimizer, found.momentum) == (16, 0.01, "sgd", 0.9)
    assert (found.weight_decay, found.flip, found.ema, found.drop_empty) == (1e-4, 0.5, 0, True)
    assert (found.size, found.max_size, found.norm, found.freeze_at) == (800, 1333, "frozen_bn", 2)


@pytest.mark.parametrize("name", RECIPES)
def test_learning_rates(name: str) -> None:
    settings = _configuration(name).settings
    names = ("schedule", "warmup", "warmup_kind", "warmup_factor", "milestones")
    options = {name: getattr(settings, name) for name in names}
    for step, expected in RATES[name].items():
        assert learning_rate_factor(step, settings.steps, **options) == pytest.approx(expected)


@pytest.mark.parametrize("name", GROUPS)
def test_which_weights_decay_and_which_learn_faster(name: str | None) -> None:
    model = small_model(norm="frozen_bn", freeze_at=2)
    found: dict[int, tuple[float, float]] = {}
    for group in make_optimizer(model, _configuration(name).settings).param_groups:
        assert group["lr_factor"] == pytest.approx(group["lr"] / 0.01)
        for weight in group["params"]:
            found[id(weight)] = (group["lr_factor"], group["weight_decay"] / 1e-4)
    expected = dict(zip(KINDS, GROUPS[name], strict=True))
    weights = dict(model.named_parameters())
    for weight, kind in EXAMPLES.items():
        assert found[id(weights[weight])] == pytest.approx(expected[kind]), weight
    assert found.keys() == {id(w) for w in weights.values() if w.requires_grad}


def test_recipes_hold_known_values() -> None:
    for values in RECIPES.values():
        assert values.keys() <= set(NAMES)
        assert values["preset"] in PRESETS


def test_batch_norms_count_as_norms() -> None:
    model = small_model(norm="bn")
    groups = make_optimizer(model, TrainingSettings(1, bias_decay_factor=1.0)).param_groups
    (plain,) = (group["params"] for group in groups if group["weight_decay"] == 0)
    assert any(weight is model.backbone.body.bn1.weight for weight in plain)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"milestones": (0.9, 0.5)}, "milestones must be positive numbers that rise"),
        ({"milestones": (0,)}, "milestones must be positive numbers"),
        ({"milestones": (0.5, 1.0)}, r"milestones must be shares .* got \(0.5, 1.0\)"),
        ({"warmup_kind": "constant"}, "warmup_factor must be a number above 0 and at most 1"),
        ({"warmup_factor": 2.0}, "warmup_factor must be a number from 0 to 1, got 2.0"),
        ({"bias_lr_factor": 0.0}, "bias_lr_factor must be positive, got 0.0"),
        ({"norm_biases": "maybe"}, "norm_biases must be one of"),
    ],
)
def test_settings_of_the_schedule_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingSettings(1, **change)


def test_milestones_in_steps() -> None:
    factors = [
        learning_rate_factor(step, 100, schedule="step", milestones=(10, 0.5))
        for step in (9, 10, 49, 50)
    ]
    assert factors == pytest.approx([1, 0.1, 0.1, 0.01])


def test_milestones_are_not_late_by_a_rounding() -> None:
    """9 / 11 * 77 is 63.00000000000001."""
    factors = [
        learning_rate_factor(step, 77, schedule="step", milestones=(9 / 11,)) for step in (62, 63)
    ]
    assert factors == [1, 0.1]


def test_settings_of_a_configuration_are_a_part_of_it() -> None:
    configuration = _configuration("mmdet-1x")
    whole, part = dataclasses.asdict(configuration), dataclasses.asdict(configuration.settings)
    assert part.items() <= whole.items()
