"""Converted weights compute what the program that wrote them does: maps, boxes, scores, input."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from fcos.models import FCOS
from fcos.structures import pad_images
from fcos.weights.layouts import convert
from PIL import Image
from torch import Tensor

from . import foreign_names as foreign
from .foreign_files import random_file
from .foreign_names import Names
from .foreign_networks import Rules, detections, maps

_CATEGORIES = [(9, "nine"), (2, "two"), (3, "three")]
_AUTHORS = Rules(
    eps=0.0,
    stride_in_1x1=True,
    activation="exp",
    normalized=False,
    centerness_on="classification",
    offset=0.5,
    threshold=0.05,
    threshold_on="class",
    drop_empty=False,
    last_pixel=1.0,
)
_IMPROVED = {"activation": "relu", "normalized": True, "centerness_on": "regression"}
_DETECTRON2 = _AUTHORS._replace(
    **_IMPROVED, eps=1e-5, clip_first=False, drop_empty=True, last_pixel=0.0
)
_MMDETECTION = _AUTHORS._replace(eps=1e-5, product=True, iou=0.5, drop_empty=True, last_pixel=0.0)
_ON_SCORE = {"threshold": 0.2, "threshold_on": "score"}
_TORCHVISION = _DETECTRON2._replace(
    stride_in_1x1=False, offset=0.0, clip_first=True, drop_empty=False, **_ON_SCORE
)


class _Case(NamedTuple):
    names: Names
    rules: Rules
    file: dict[str, Any] = {}
    asked: dict[str, Any] = {}


_CASES = {
    "torchvision": _Case(foreign.TORCHVISION, _TORCHVISION),
    "torchvision before 0.13": _Case(foreign.TORCHVISION_BEFORE_0_13, _TORCHVISION),
    "fcos_core paper": _Case(foreign.FCOS_CORE, _AUTHORS, asked={"preset": "paper"}),
    "fcos_core improved": _Case(
        foreign.FCOS_CORE, _AUTHORS._replace(**_IMPROVED), asked={"hint": "FCOS_imprv_R_50_FPN_1x"}
    ),
    "fcos_core from C5": _Case(
        foreign.FCOS_CORE, _AUTHORS, {"p6_from_c5": True}, {"preset": "paper"}
    ),
    "adelaidet": _Case(foreign.ADELAIDET, _DETECTRON2),
    "adelaidet, three levels": _Case(foreign.ADELAIDET, _DETECTRON2, {"levels": 3}),
    "adelaidet, batch norms": _Case(
        foreign.ADELAIDET, _DETECTRON2, {"levels": 3, "head_norm": "bn"}
    ),
    "adelaidet, no norm": _Case(
        foreign.ADELAIDET._replace(tower_step=2), _DETECTRON2, {"head_norm": "none"}
    ),
    "adelaidet, no scale": _Case(foreign.ADELAIDET._replace(scale=None), _DETECTRON2),
    "detectron2": _Case(foreign.DETECTRON2, _DETECTRON2._replace(**_ON_SCORE)),
    "mmdetection": _Case(foreign.MMDETECTION, _MMDETECTION, {"bias": False, "scale_shape": ()}),
    "mmdetection, tricks": _Case(
        foreign.MMDETECTION, _MMDETECTION._replace(**_IMPROVED, iou=0.6), {"scale_shape": ()}
    ),
}


@pytest.mark.parametrize("case", _CASES.values(), ids=_CASES)
def test_a_converted_network_computes_what_the_other_program_does(case: _Case) -> None:
    state = random_file(case.names, **case.file)
    # whole cells at every level: fcos_core clips a left edge to the last pixel, ours to its end
    image = torch.randn(3, 128, 128, generator=torch.Generator().manual_seed(1)).double()
    model = _converted(state, **case.asked)
    p6_from_c5 = case.file.get("p6_from_c5", False)
    expected = maps(state, case.names, case.rules, image, p6_from_c5)
    batch = pad_images([image])
    # only the exponential is computed in float32, whatever the network's dtype
    ltrb_error = 2e-6 if case.rules.activation == "exp" else 1e-9
    with torch.inference_mode():
        output = model.head(model.backbone(batch.tensor))
        levels = model.levels(output, batch)
        found = model(batch)
    assert len(output.ltrb) == len(expected.ltrb)
    for level, geometry in enumerate(levels):
        scale = geometry.scale if case.rules.normalized else 1.0
        _assert_close(output.classification[level][0], expected.logits[level], 1e-9)
        _assert_close(output.ltrb[level][0] * scale, expected.ltrb[level], ltrb_error)
        _assert_close(output.centerness[level][0, 0], expected.centerness[level], 1e-9)
    wanted = detections(expected, case.rules, image)
    count = int((found.labels[0] >= 0).sum())
    assert 20 < len(wanted) == count
    assert found.labels[0, :count].tolist() == [one.label for one in wanted]
    _assert_close(found.scores[0, :count], torch.tensor([one.score for one in wanted]), 1e-6)
    # a map of float32 distances up to 2e4 pixels before they are clipped
    _assert_close(found.boxes[0, :count], torch.tensor([one.box for one in wanted]), 1e-5)


def _converted(state: dict[str, Tensor], **asked: Any) -> FCOS:
    categories = None if "head.classification_head.cls_logits.weight" in state else _CATEGORIES
    converted = convert(state, categories=categories, **asked)
    model = FCOS(converted.config).double().eval()
    model.load_state_dict(converted.state)
    return model


def _assert_close(found: Tensor, expected: Tensor, error: float) -> None:
    torch.testing.assert_close(found.double(), expected.double(), rtol=error, atol=error)


_INPUTS = {
    "torchvision": (
        foreign.TORCHVISION,
        {},
        lambda rgb: (rgb / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
    ),
    "fcos_core": (
        foreign.FCOS_CORE,
        {"preset": "paper"},
        lambda rgb: rgb[..., ::-1] - [102.9801, 115.9465, 122.7717],
    ),
    "adelaidet": (foreign.ADELAIDET, {}, lambda rgb: rgb[..., ::-1] - [103.53, 116.28, 123.675]),
    "detectron2": (foreign.DETECTRON2, {}, lambda rgb: rgb[..., ::-1] - [103.53, 116.28, 123.675]),
    "mmdetection": (
        foreign.MMDETECTION,
        {"preset": "mmdet"},
        lambda rgb: rgb[..., ::-1] - [102.9801, 115.9465, 122.7717],
    ),
    "mmdetection, tricks": (
        foreign.MMDETECTION,
        {"preset": "improved"},
        lambda rgb: rgb[..., ::-1] - [103.53, 116.28, 123.675],
    ),
}


@pytest.mark.parametrize(("names", "asked", "normalized"), _INPUTS.values(), ids=_INPUTS)
def test_the_input_has_the_other_programs_colours(
    names: Names, asked: Any, normalized: Any
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    preprocessing = _converted(random_file(names), **asked).config.preprocessing
    assert (preprocessing.size, preprocessing.max_size) == (800, 1333)
    image = preprocessing._replace(size=20, max_size=30).image(Image.fromarray(pixels))
    expected = torch.tensor(normalized(pixels.astype(np.float64)).copy()).permute(2, 0, 1)
    # the float32 of a value up to 255
    _assert_close(image, expected, 1e-5)
