"""What is read from the config and the class names in mmdetection's files, and what is assumed."""

from __future__ import annotations

from typing import Any

import pytest
from fcos.errors import UserError
from fcos.weights.coco_classes import COCO_CATEGORIES
from fcos.weights.conversion import Converted
from fcos.weights.layouts import convert
from fcos.weights.mmdetection_config import read_config

from .foreign_files import random_file
from .foreign_names import MMDETECTION

# as mmengine writes the config of a version 3, shortened
_TEXT = """
model = dict(
    backbone=dict(
        depth=50,
        frozen_stages=1,
        norm_cfg=dict(requires_grad=False, type='BN'),
        norm_eval=True,
        style='caffe',
        type='ResNet'),
    bbox_head=dict(
        center_sampling=True,
        centerness_on_reg=True,
        conv_bias=True,
        loss_bbox=dict(loss_weight=1.0, type='GIoULoss'),
        loss_cls=dict(alpha=0.25, gamma=2.0, type='FocalLoss', use_sigmoid=True),
        norm_on_bbox=True,
        num_classes=3,
        strides=[8, 16, 32, 64, 128],
        type='FCOSHead'),
    data_preprocessor=dict(
        bgr_to_rgb=False, mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0],
        type='DetDataPreprocessor'),
    neck=dict(
        add_extra_convs='on_output', num_outs=5, relu_before_extra_convs=True, start_level=1,
        type='FPN'),
    test_cfg=dict(
        max_per_img=100, min_bbox_size=0, nms=dict(iou_threshold=0.6, type='nms'), nms_pre=1000,
        score_thr=0.05),
    type='FCOS')
test_cfg = dict(type='TestLoop')
test_pipeline = [
    dict(backend_args=None, type='LoadImageFromFile'),
    dict(keep_ratio=True, scale=(1333, 800), type='Resize'),
]
"""
# as version 2 wrote it: colours and sizes in the pipeline
_VERSION_2 = (
    _TEXT.replace(
        """    data_preprocessor=dict(
        bgr_to_rgb=False, mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0],
        type='DetDataPreprocessor'),
""",
        "",
    ).split("test_pipeline")[0]
    + """
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='MultiScaleFlipAug',
        img_scale=(900, 512),
        flip=False,
        transforms=[
            dict(type='Resize', keep_ratio=True),
            dict(type='Normalize', **img_norm_cfg),
        ])
]
"""
)


def _convert(text: Any = _TEXT, **more: Any) -> Converted:
    categories = more.pop("categories", [(5, "cup"), (1, "ball"), (8, "hat")])
    preset = more.pop("preset", None)
    file = random_file(MMDETECTION, scale_shape=(), **more.pop("file", {}))
    return convert(file, {"meta": {"cfg": text, **more}}, categories=categories, preset=preset)


def test_every_setting_of_the_config_is_read() -> None:
    text = _TEXT.replace("iou_threshold=0.6", "iou_threshold=0.55").replace("0.05", "0.1")
    text = text.replace("max_per_img=100", "max_per_img=50").replace("nms_pre=1000", "nms_pre=400")
    text = text.replace("(1333, 800)", "(1000, 600)").replace("min_bbox_size=0, ", "")
    text = text.replace("norm_eval=True", "norm_eval=False").replace("GIoU", "CIoU")
    text = text.replace("style='caffe'", "style='pytorch'")
    text = text.replace("centerness_on_reg=True", "center_sample_radius=2.0")
    converted = _convert(text)
    config = converted.config
    assert converted.notes == []
    assert config.postprocess.iou_threshold == 0.55
    assert config.postprocess.score_threshold == 0.1
    assert config.postprocess.candidates_per_level == 400
    assert config.postprocess.max_detections == 50
    assert not config.postprocess.drop_empty
    assert (config.preprocessing.size, config.preprocessing.max_size) == (600, 1000)
    assert (config.norm, config.stride_in_1x1, config.loss.box_loss) == ("bn", False, "ciou")
    assert config.preset == "mmdet"
    assert config.assignment.center_radius == 2.0
    assert config.variant.centerness_tower == "classification"
    assert config.variant.activation == "relu"
    assert config.freeze_at == 2
    assert _convert(text.replace("frozen_stages=1", "frozen_stages=-1")).config.freeze_at == 0


def test_the_config_of_version_2_is_read() -> None:
    converted = _convert(None, config="/home/user/config.py\n" + _VERSION_2)
    preprocessing = converted.config.preprocessing
    assert converted.notes == []
    assert (preprocessing.size, preprocessing.max_size) == (512, 900)
    assert preprocessing.channel_order == "rgb"
    assert preprocessing.mean == (123.675, 116.28, 103.53)
    assert preprocessing.std == (58.395, 57.12, 57.375)
    assert preprocessing.max_value == 255


def test_without_a_config_the_biases_tell_and_every_assumption_is_said() -> None:
    base, tricks = _convert(None, file={"bias": False}), _convert(None)
    assert base.config.variant.activation == "exp"
    assert base.config.postprocess.iou_threshold == 0.5
    assert tricks.config.variant.activation == "relu"
    assert tricks.config.postprocess.iou_threshold == 0.6
    assert tricks.notes == [
        "the file holds no config that can be read: what follows is assumed",
        "the preset is taken to be improved: the towers have biases",
        "the batch norms of the backbone are taken to be frozen",
        "the style of the backbone is taken to be caffe, as published first",
        "the input is taken to be BGR with mean [103.53, 116.28, 123.675] and deviation "
        "[1.0, 1.0, 1.0], as published with resnet50",
        "images are resized to 800 x 1333, as published",
    ]


def test_the_preset_of_the_user_comes_first() -> None:
    assert _convert(preset="mmdet").config.variant.activation == "exp"
    assert _convert(None, preset="mmdet").config.variant.centerness_tower == "classification"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("type='FCOS')", "type='ATSS')", "model.type of the config must be 'FCOS', got 'ATSS'"),
        ("[8, 16, 32, 64, 128]", "[4, 8, 16, 32, 64]", "model.bbox_head.strides of the config"),
        ("type='nms'", "type='soft_nms'", "model.test_cfg.nms.type of the config"),
        ("relu_before_extra_convs=True", "num_ins=4", "model.neck.relu_before_extra_convs of"),
        ("'on_output'", "'on_lateral'", "model.neck.add_extra_convs of the config"),
        ("num_classes=3", "regress_ranges=((-1, 32), (32, 1e8))", "model.bbox_head.regress_ran"),
        ("keep_ratio=True", "keep_ratio=False", "keep_ratio of the config"),
        ("norm_on_bbox=True", "norm_on_bbox=0", "model.bbox_head.norm_on_bbox of the config"),
        ("score_thr=0.05", "score_thr='low'", "model.test_cfg.score_thr of the config must be a"),
        ("std=[1.0, 1.0, 1.0]", "std=[0.0, 1.0, 1.0]", "std of the config must be a number from"),
        ("mean=[103.53, 116.28", "mean=[1e999, 116.28", "mean of the config must be a number"),
        ("(1333, 800)", "1333", "scale of the config's Resize must be two numbers, got 1333"),
        ("min_bbox_size=0", "min_bbox_size=8", "model.test_cfg.min_bbox_size of the config"),
    ],
)
def test_a_setting_that_is_not_implemented_is_refused(old: str, new: str, message: str) -> None:
    assert old in _TEXT
    with pytest.raises(UserError) as caught:
        _convert(_TEXT.replace(old, new))
    assert str(caught.value).startswith(message)


def test_published_ranges_are_the_usual_ones() -> None:
    ranges = "regress_ranges=((-1, 64), (64, 128), (128, 256), (256, 512), (512, 1e8))"
    assert _convert(_TEXT.replace("num_classes=3", ranges)).config.num_levels == 5


@pytest.mark.parametrize(
    "config",
    [
        "import os\nos.system('false')",
        "model = __import__('os')",
        "model = open('made', 'w')",
        "model = dict(",
        "_base_ = 'x.py'\nmodel = dict(type='FCOS')",
        "model = dict(type='FCOS')\nmodel = dict(backbone=dict(depth=18))",
        "model = " + "-" * 100_000 + "1",
        "model = " + "(" * 10_000,
        "model = 1" + "+1" * 50_000,
        "x" * 2_000_000,
        7,
        ["model"],
        {"model": "FCOS"},
    ],
    ids=lambda config: str(config)[:30],
)
def test_a_config_that_cannot_be_read_is_none(config: Any) -> None:
    assert read_config({"cfg": config}) is None


def test_nothing_of_a_config_is_run(tmp_path: Any) -> None:
    path = tmp_path / "made"
    text = f"open({str(path)!r}, 'w')\nmodel = dict(type=open({str(path)!r}, 'w'), a=1)"
    assert read_config({"cfg": text}) == {"model": {"type": None, "a": 1}}
    assert not path.exists()


def test_names_of_coco_have_its_ids_and_others_are_numbered() -> None:
    names = [name for _, name in COCO_CATEGORIES]
    for classes in (names, [name.replace(" ", "_") for name in names]):
        found = _convert(categories=None, file={"classes": 80}, CLASSES=tuple(classes))
        assert found.config.category_ids == tuple(number for number, _ in COCO_CATEGORIES)
        assert found.config.class_names[9] == "traffic light"
        assert found.notes == []
    found = _convert(categories=None, dataset_meta={"classes": ("cup", "ball", "hat")})
    assert found.config.class_names == ("cup", "ball", "hat")
    assert found.config.category_ids == (1, 2, 3)
    assert found.notes == ["the category ids are taken to be 1 to 3: the file has names only"]


def test_given_categories_keep_the_order_of_their_file_and_the_names_choose() -> None:
    given = [(9, "dog"), (5, "hat"), (1, "ball"), (8, "cup")]
    found = _convert(categories=given, dataset_meta={"classes": ("cup", "ball", "hat")})
    assert found.config.category_ids == (5, 1, 8)
    assert found.config.class_names == ("hat", "ball", "cup")


def test_names_of_another_count_are_left_out_and_said() -> None:
    found = _convert(CLASSES=("cup",))
    assert found.config.class_names == ("cup", "ball", "hat")
    assert found.notes == ["the file's 1 class names are left out: it has 3 classes"]
