"""Sizes, pixels and values of `Preprocessing` against the pipelines that people's weights were
trained in, re-stated; torchvision's itself runs in tests/torchvision."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fcos.data import CocoDataset
from fcos.preprocessing import PREPROCESSING, Preprocessing, Rounding
from PIL import Image

CAFFE = Preprocessing(
    channel_order="bgr", max_value=255, mean=(102.9801, 115.9465, 122.7717), std=(1.0, 2.0, 3.0)
)


def _of_mmcv(height: int, width: int, size: int, max_size: int) -> tuple[int, int]:
    """`rescale_size`: one factor, rounded half up."""
    factor = min(max_size / max(height, width), size / min(height, width))
    return int(height * factor + 0.5), int(width * factor + 0.5)


def _of_torchvision(height: int, width: int, size: int, max_size: int) -> tuple[int, int]:
    """`_resize_image_and_masks`: one factor, cut down by `F.interpolate`."""
    factor = min(size / min(height, width), max_size / max(height, width))
    return math.floor(height * factor), math.floor(width * factor)


def _of_detectron2(height: int, width: int, size: int, max_size: int) -> tuple[int, int]:
    """`ResizeShortestEdge`: the short side first, all sides again where one is too long."""
    sides = [float(height), float(width)]
    factor = size / min(sides)
    short = 0 if height < width else 1
    sides = [float(size) if i == short else factor * side for i, side in enumerate(sides)]
    if max(sides) > max_size:
        again = max_size / max(sides)
        sides = [side * again for side in sides]
    new_height, new_width = (int(side + 0.5) for side in sides)
    return new_height, new_width


def _of_fcos_core(height: int, width: int, size: int, max_size: int) -> tuple[int, int]:
    """`Resize.get_size`: a whole short side, from which the long one follows."""
    short, long = float(min(height, width)), float(max(height, width))
    if long / short * size > max_size:
        size = int(round(max_size * short / long))
    if short == size:
        return height, width
    if width < height:
        return int(size * height / width), size
    return size, int(size * width / height)


THEIRS: dict[Rounding, Callable[[int, int, int, int], tuple[int, int]]] = {
    "nearest": _of_mmcv,
    "two_steps": _of_detectron2,
    "floor": _of_torchvision,
    "short_side": _of_fcos_core,
}


@pytest.mark.parametrize("rounding", THEIRS)
@pytest.mark.parametrize(("size", "max_size"), [(800, 1333), (600, 1000), (512, 736)])
def test_sizes(rounding: Rounding, size: int, max_size: int) -> None:
    """Of a part of all images up to 1500 pixels; every one was compared once, with the sources."""
    rule = Preprocessing(size, max_size, rounding)
    sides = itertools.product(range(1, 1501, 43), range(1, 1501))
    for height, width in itertools.chain(sides, [(480, 640), (427, 640), (3, 62)]):
        expected = THEIRS[rounding](height, width, size, max_size)
        found = rule.resized_size(height, width)
        if 0 in expected:  # they fail there
            assert min(found) == 1, (height, width)
        else:
            assert found == expected, (height, width)


@pytest.mark.parametrize(
    ("image", "nearest", "two_steps", "floor", "short_side"),
    [
        ((480, 640), (800, 1067), (800, 1067), (800, 1066), (800, 1066)),
        ((640, 480), (1067, 800), (1067, 800), (1066, 800), (1066, 800)),
        ((427, 640), (800, 1199), (800, 1199), (800, 1199), (800, 1199)),
        ((426, 640), (800, 1202), (800, 1202), (800, 1201), (800, 1201)),
        ((375, 500), (800, 1067), (800, 1067), (800, 1066), (800, 1066)),
        ((333, 500), (800, 1201), (800, 1201), (800, 1201), (800, 1201)),
        ((200, 333), (800, 1332), (800, 1332), (800, 1332), (800, 1332)),
        ((300, 612), (653, 1333), (653, 1333), (653, 1332), (653, 1332)),
        ((335, 640), (698, 1333), (698, 1333), (697, 1333), (698, 1333)),
        ((240, 640), (500, 1333), (500, 1333), (499, 1333), (500, 1333)),
        ((800, 800), (800, 800), (800, 800), (800, 800), (800, 800)),
        ((800, 1333), (800, 1333), (800, 1333), (800, 1333), (800, 1333)),
        ((62, 3), (1333, 65), (1333, 64), (1333, 64), (1322, 64)),
        ((1, 5000), (1, 1333), (1, 1333), (1, 1333), (1, 5000)),
        ((2, 5000), (1, 1333), (1, 1333), (1, 1333), (1, 2500)),
        ((1, 1), (800, 800), (800, 800), (800, 800), (800, 800)),
    ],
    ids=lambda value: f"{value[0]}x{value[1]}",
)
def test_sizes_of_common_and_odd_images(
    image: tuple[int, int],
    nearest: tuple[int, int],
    two_steps: tuple[int, int],
    floor: tuple[int, int],
    short_side: tuple[int, int],
) -> None:
    assert Preprocessing(rounding="nearest").resized_size(*image) == nearest
    assert Preprocessing(rounding="two_steps").resized_size(*image) == two_steps
    assert Preprocessing(rounding="floor").resized_size(*image) == floor
    assert Preprocessing(rounding="short_side").resized_size(*image) == short_side


def _noise(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize("size", [20, 40, 76], ids=["smaller", "same", "larger"])
def test_pixels_of_detectron2(size: int) -> None:
    """Resized by Pillow, reversed, then mean and deviation in float32: equal bit by bit."""
    image = _noise(40, 60)
    found = CAFFE._replace(size=size).image(image)
    pixels = np.asarray(image.resize((size * 3 // 2, size), Image.Resampling.BILINEAR))
    expected = torch.from_numpy(pixels[:, :, ::-1].transpose(2, 0, 1).astype(np.float32))
    expected -= torch.tensor(CAFFE.mean)[:, None, None]
    expected /= torch.tensor(CAFFE.std)[:, None, None]
    assert torch.equal(found, expected)
    assert found.is_contiguous() and found.dtype == torch.float32


def test_pixels_of_fcos_core() -> None:
    """It divides by 255 and multiplies again, which may change the last bit of 255: 2e-5."""
    image = _noise(40, 60)
    found = CAFFE._replace(size=40, rounding="short_side").image(image)
    unit = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    expected = unit[[2, 1, 0]] * 255 - torch.tensor(CAFFE.mean)[:, None, None]
    expected /= torch.tensor(CAFFE.std)[:, None, None]
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


# grey levels of red that cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR) of
# opencv-python-headless 4.8.1.78 and 5.0.0.93 makes of `_pattern`
OF_OPENCV = {
    (6, 7): [
        [0, 63, 143, 222, 118, 124, 188],
        [22, 85, 163, 239, 138, 146, 210],
        [50, 113, 188, 255, 164, 156, 195],
        [79, 142, 208, 255, 184, 112, 53],
        [108, 171, 206, 175, 182, 122, 40],
        [129, 192, 199, 95, 174, 144, 61],
    ],
    (3, 3): [[44, 227, 158], [102, 255, 130], [159, 121, 102]],
    (8, 10): [
        [0, 28, 83, 139, 194, 186, 113, 105, 160, 188],
        [11, 38, 94, 149, 203, 195, 123, 115, 171, 199],
        [32, 60, 115, 169, 221, 212, 144, 137, 192, 220],
        [54, 81, 137, 187, 232, 224, 162, 142, 166, 178],
        [75, 103, 158, 203, 238, 229, 178, 132, 91, 71],
        [97, 124, 180, 209, 213, 205, 184, 137, 65, 29],
        [118, 146, 201, 206, 158, 150, 180, 159, 86, 50],
        [129, 157, 212, 204, 131, 123, 178, 170, 97, 61],
    ],
    (4, 5): [
        [0, 111, 222, 77, 188],
        [43, 154, 255, 120, 231],
        [86, 197, 255, 163, 18],
        [129, 240, 95, 206, 61],
    ],
}


def _pattern() -> Image.Image:
    pixels = (np.arange(4 * 5 * 3).reshape(4, 5, 3) * 37 % 256).astype(np.uint8)
    pixels[1:3, 2] = 255, 0, 128
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", OF_OPENCV)
def test_pixels_of_opencv(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    rule = Preprocessing(interpolation="opencv", max_value=255, mean=(0, 0, 0), std=(1, 1, 1))
    monkeypatch.setattr(Preprocessing, "resized_size", lambda *_: size)
    assert rule.image(_pattern())[0].tolist() == OF_OPENCV[size]


def test_a_single_pixel_becomes_an_image_of_its_colour() -> None:
    image = Image.new("RGB", (1, 1), (10, 200, 30))
    for rule in PREPROCESSING.values():
        plain = rule._replace(size=8, max_value=255, mean=(0, 0, 0), std=(1, 1, 1))
        assert plain.image(image).flatten(1).tolist() == [[level] * 64 for level in (10, 200, 30)]


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "HSV"])
def test_other_channels_are_not_taken_for_colours(mode: str) -> None:
    with pytest.raises(ValueError, match=f"image must be in mode RGB, got {mode}"):
        Preprocessing().image(Image.new(mode, (8, 8)))


def test_boxes() -> None:
    boxes = torch.tensor([[10.0, 20, 30, 60], [0, 0, 100, 80]])
    found = Preprocessing().boxes(boxes, (80, 100), (40, 200))
    assert found.tolist() == [[20, 10, 60, 30], [0, 0, 200, 40]]
    found = Preprocessing(legacy_boxes=True).boxes(boxes, (80, 100), (40, 200))
    assert found.tolist() == [[20, 10, 58, 29.5], [0, 0, 198, 39.5]]
    assert Preprocessing().boxes(boxes[:0], (80, 100), (40, 200)).shape == (0, 4)


@pytest.mark.parametrize("rule", [*PREPROCESSING.values(), CAFFE])
def test_rules_survive_a_file(rule: Preprocessing) -> None:
    values = json.loads(json.dumps(rule.to_dict()))
    assert Preprocessing.from_dict(values) == rule
    rule.check()


BAD = [
    ("size", 0, "a whole number from 1 to 100000, got 0"),
    ("size", True, "a whole number from 1 to 100000, got True"),
    ("size", 64.0, "a whole number from 1 to 100000, got 64.0"),
    ("max_size", 10**9, "a whole number from 1 to 100000, got 1000000000"),
    ("max_size", "64", "a whole number from 1 to 100000, got '64'"),
    ("rounding", "up", "one of ['nearest', 'two_steps', 'floor', 'short_side'], got 'up'"),
    ("interpolation", ["torch"], "one of ['pillow', 'torch', 'opencv'], got ['torch']"),
    ("channel_order", None, "one of ['rgb', 'bgr'], got None"),
    ("max_value", 256, "1 or 255, got 256"),
    ("max_value", True, "1 or 255, got True"),
    ("mean", [0.0, math.nan, 0.0], "three numbers from 0 to 255, got (0.0, nan, 0.0)"),
    ("mean", [0.0, 0.0, math.inf], "three numbers from 0 to 255, got (0.0, 0.0, inf)"),
    ("mean", [-1, 0, 0], "three numbers from 0 to 255, got (-1, 0, 0)"),
    ("mean", [1, 2], "three numbers from 0 to 255, got (1, 2)"),
    ("mean", 5, "three numbers from 0 to 255, got 5"),
    ("mean", "abc", "three numbers from 0 to 255, got 'abc'"),
    ("mean", [True, 0, 0], "three numbers from 0 to 255, got (True, 0, 0)"),
    ("std", [1, 0, 1], "three numbers from 0.001 to 255, got (1, 0, 1)"),
    ("std", [1, -1, 1], "three numbers from 0.001 to 255, got (1, -1, 1)"),
    ("std", [1, "1", 1], "three numbers from 0.001 to 255, got (1, '1', 1)"),
    ("legacy_boxes", 1, "True or False, got 1"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD)
def test_bad_values(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        Preprocessing.from_dict({**Preprocessing().to_dict(), name: value})
    assert str(raised.value) == f"{name} must be {message}"


def test_missing_and_unknown_keys() -> None:
    values = Preprocessing().to_dict()
    del values["max_size"]
    for wrong in (values, {**Preprocessing().to_dict(), "flip": True}, {}):
        with pytest.raises(ValueError, match="preprocessing must hold size, max_size, .*, got "):
            Preprocessing.from_dict(wrong)


def test_a_dataset_refuses_bad_values() -> None:
    with pytest.raises(ValueError, match="size must be a whole number from 1 to 100000, got 0"):
        CocoDataset("none.json", ".", Preprocessing(size=0))
