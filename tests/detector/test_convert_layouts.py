"""Which program wrote a file, what is asked of the user, what is said, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fcos.errors import UserError
from fcos.weights.layouts import convert, recognise

from . import foreign_names as foreign
from .foreign_files import random_file
from .foreign_names import Names

_ALL = {
    "torchvision": foreign.TORCHVISION,
    "fcos_core": foreign.FCOS_CORE,
    "adelaidet": foreign.ADELAIDET,
    "detectron2": foreign.DETECTRON2,
    "mmdetection": foreign.MMDETECTION,
}
_THREE = [(5, "cup"), (1, "ball"), (8, "hat")]


@pytest.mark.parametrize(("layout", "names"), _ALL.items())
def test_the_layout_is_told_by_the_names(layout: str, names: Names) -> None:
    assert recognise(random_file(names)) == layout


def test_a_file_of_nothing_known_is_refused_with_three_names_and_a_count() -> None:
    state = {f"encoder.{i}.weight": torch.zeros(1) for i in range(5)}
    with pytest.raises(UserError) as caught:
        recognise(state)
    assert str(caught.value) == (
        "weights must be an FCOS of torchvision, fcos_core, adelaidet, detectron2, mmdetection, "
        "got 5 tensors: 'encoder.0.weight', 'encoder.1.weight', 'encoder.2.weight' and 2 more"
    )


@pytest.mark.parametrize(("layout", "names"), _ALL.items())
def test_a_name_that_is_not_known_is_not_passed_over(layout: str, names: Names) -> None:
    state = random_file(names)
    state["mask_head.weight"] = torch.zeros(1)
    with pytest.raises(UserError, match="^weights must have names of this layout only, got 'mask"):
        convert(state, categories=_THREE, preset="improved" if layout == "fcos_core" else None)


@pytest.mark.parametrize(
    ("names", "extra", "network"),
    [
        (foreign.DETECTRON2, "backbone.bottom_up.res3.0.conv2_offset.weight", "deformable"),
        (foreign.ADELAIDET, "proposal_generator.fcos_head.cls_tower.3.offset.bias", "deformable"),
        (foreign.FCOS_CORE, "backbone.body.layer2.0.conv2.offset.weight", "deformable"),
        (foreign.MMDETECTION, "backbone.layer2.0.conv2.conv_offset.weight", "deformable"),
        (foreign.ADELAIDET, "proposal_generator.fcos_head.share_tower.0.weight", "share"),
        (foreign.ADELAIDET, "backbone.bottom_up.stage2.OSA2_1.concat.weight", "VoVNet"),
        (foreign.ADELAIDET, "backbone.bottom_up.level2.tree1.conv1.weight", "DLA"),
        (foreign.FCOS_CORE, "backbone.body.features.0.0.weight", "MobileNet"),
    ],
)
def test_a_network_that_is_not_implemented_is_named(names: Names, extra: str, network: str) -> None:
    state = {**random_file(names), extra: torch.zeros(1)}
    with pytest.raises(UserError, match=f"^weights must be of a network without .*{network}"):
        convert(state, categories=_THREE, hint="imprv")


@pytest.mark.parametrize(("layout", "names"), _ALL.items())
def test_classes_that_the_file_does_not_name_are_asked_for(layout: str, names: Names) -> None:
    if layout == "torchvision":
        config = convert(random_file(names)).config
        assert config.category_ids == (None, 1, 2)
        assert config.class_names == ("", "", "")
        return
    with pytest.raises(UserError) as caught:
        convert(random_file(names), hint="imprv")
    assert str(caught.value) == (
        "categories must be given for a network of 3 classes: --categories FILE, the annotation "
        "file that it was trained with"
    )


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        # fcos_core and mmdetection keep the order of the annotation file, detectron2 sorts it
        (foreign.FCOS_CORE, (5, 1, 8)),
        (foreign.MMDETECTION, (5, 1, 8)),
        (foreign.ADELAIDET, (1, 5, 8)),
        (foreign.DETECTRON2, (1, 5, 8)),
    ],
)
def test_categories_take_the_order_of_the_program(names: Names, ids: tuple[int, ...]) -> None:
    config = convert(random_file(names), categories=_THREE, hint="imprv").config
    assert config.category_ids == ids
    assert config.class_names == tuple(dict(_THREE)[number] for number in ids)


def test_torchvisions_channels_are_category_ids() -> None:
    state = random_file(foreign.TORCHVISION, classes=9)
    config = convert(state, categories=_THREE).config
    assert config.category_ids == (None, 1, None, None, None, 5, None, None, 8)
    assert config.class_names == ("", "ball", "", "", "", "cup", "", "", "hat")
    with pytest.raises(UserError, match="ids below 9, the number of channels, got 9$"):
        convert(state, categories=[(9, "nine")])


def test_80_and_91_classes_are_cocos() -> None:
    found = convert(random_file(foreign.DETECTRON2, classes=80))
    assert found.config.category_ids[:13] == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14)
    assert (found.config.category_ids[-1], found.config.class_names[-1]) == (90, "toothbrush")
    assert "the 80 classes are taken to be COCO's, in the order of their ids" in found.notes
    found = convert(random_file(foreign.TORCHVISION, classes=91))
    assert found.config.category_ids[10:14] == (10, 11, None, 13)
    assert found.config.class_names[:2] == ("", "person")


def test_another_count_of_categories_is_refused() -> None:
    state = random_file(foreign.DETECTRON2)
    with pytest.raises(UserError, match="one for each of 3 classes, got 1, .* is \\(1, 'a'\\)$"):
        convert(state, categories=[(1, "a")])


def test_fcos_core_needs_the_preset_or_the_files_name() -> None:
    state = random_file(foreign.FCOS_CORE)
    with pytest.raises(UserError, match="^preset must be paper or improved "):
        convert(state, categories=_THREE, hint="model_final")
    found = convert(state, categories=_THREE, hint="FCOS_imprv_R_50_FPN_1x")
    assert found.config.preset == "improved"
    assert found.notes == ["the preset is taken to be improved: the file's name says imprv"]
    assert convert(state, categories=_THREE, hint="imprv", preset="paper").config.preset == "paper"


def test_a_preset_of_another_layout_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        convert(random_file(foreign.DETECTRON2), preset="paper")
    assert str(caught.value) == "preset must be detectron2 for weights of detectron2, got 'paper'"
    with pytest.raises(UserError, match="^layout must be one of torchvision, .*, got 'yolo'$"):
        convert({}, layout="yolo")


def test_adelaidets_own_conversion_of_fcos_core_is_read_and_said() -> None:
    state = random_file(foreign.ADELAIDET)
    left = {
        name.replace("fcos_head.ctrness", "fcos_head.centerness"): state[name] for name in state
    }
    found = convert(left, categories=_THREE)
    assert torch.equal(
        found.state["head.regression_head.bbox_ctrness.weight"],
        state["proposal_generator.fcos_head.ctrness.weight"],
    )
    assert any("came from fcos_core" in note for note in found.notes)
    with pytest.raises(UserError, match="bbox_ctrness.weight' once, got it twice"):
        convert({**left, **state}, categories=_THREE)


def test_mean_and_deviation_in_the_file_are_read() -> None:
    state = random_file(foreign.ADELAIDET)
    state["pixel_mean"] = torch.tensor([103.53, 116.28, 123.675]).view(3, 1, 1)
    state["pixel_std"] = torch.tensor([57.375, 57.12, 58.395]).view(3, 1, 1)
    found = convert(state, categories=_THREE)
    assert found.config.preprocessing.mean == (103.53, 116.28, 123.675)
    assert found.config.preprocessing.std == (57.375, 57.12, 58.395)
    assert not found.notes
    state["pixel_std"][1] = float("nan")
    with pytest.raises(UserError, match="^pixel_std must hold three numbers"):
        convert(state, categories=_THREE)


def test_three_levels_are_adelaidets_real_time_networks() -> None:
    config = convert(random_file(foreign.ADELAIDET, levels=3), categories=_THREE).config
    assert config.assignment.ranges == ((-1.0, 64.0), (64.0, 128.0), (128.0, 1e8))
    assert (config.preprocessing.size, config.preprocessing.max_size) == (512, 736)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"backbone.body.layer1.2.conv1.weight": None}, "one of the backbones resnet18, "),
        ({"backbone.body.conv1.weight": torch.zeros(0, 3, 7, 7)}, "'backbone.body.conv1.weight'"),
        ({"backbone.body.bn1.running_mean": None}, "batch norm in the backbone, got"),
        ({"backbone.fpn.inner_blocks.0.0.weight": None}, "'backbone.fpn.inner_blocks.0.0.weight'"),
        (
            {"backbone.fpn.inner_blocks.0.0.weight": torch.zeros(64, 64, 1, 1)},
            "towers of 128 channels or a larger multiple of 32 for its 32 groups, got 64",
        ),
    ],
)
def test_weights_of_another_network_are_refused(changed: dict[str, Any], message: str) -> None:
    state = {**random_file(foreign.TORCHVISION), **changed}
    state = {name: tensor for name, tensor in state.items() if tensor is not None}
    with pytest.raises(UserError, match="^weights must have " + message):
        convert(state)
