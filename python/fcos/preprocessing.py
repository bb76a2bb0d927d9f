"""How an image file becomes the network's input: resized, in the network's colours, normalised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import brief

if TYPE_CHECKING:
    from PIL import Image

Rounding = Literal["nearest", "floor", "short_side"]
Interpolation = Literal["pillow", "torch", "opencv"]
ChannelOrder = Literal["rgb", "bgr"]

_MAX_SIDE = 100_000


class Preprocessing(NamedTuple):
    """From pixels to the network's input. Batches are padded with zeros, bottom-right, to multiples
    of 32 after this, in every published variant.

    Attributes:
        size: short side, pixels, unless the long side would exceed `max_size`.
        max_size: limit of the long side, pixels.
        rounding: how the sides become whole. "nearest": detectron2, AdelaiDet, mmdetection.
            "floor": torchvision. "short_side": fcos_core, where the short side is whole and the
            long one is cut down.
        interpolation: all bilinear. "pillow": antialiased, in 8 bits. "torch": not antialiased, in
            floating point after normalisation, as torchvision does. "opencv": not antialiased, in
            8 bits; within one grey level of OpenCV.
        channel_order: of the network's input.
        max_value: what a white pixel is before normalisation: 1 or 255.
        mean, std: subtracted from each channel, then divided by; in `channel_order`.
        legacy_boxes: boxes end at their last pixel, x2 = x1 + width - 1, as in fcos_core, where it
            is the convention of targets, NMS and results.
    """

    size: int = 800
    max_size: int = 1333
    rounding: Rounding = "nearest"
    interpolation: Interpolation = "pillow"
    channel_order: ChannelOrder = "rgb"
    max_value: float = 1.0
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    legacy_boxes: bool = False

    def check(self) -> None:
        """ValueError where a field is none of the above."""
        for name in ("size", "max_size"):
            _expect(name, f"a whole number from 1 to {_MAX_SIDE}", self, _is_side)
        words = {"rounding": Rounding, "interpolation": Interpolation}
        words |= {"channel_order": ChannelOrder}
        for name, kind in words.items():
            known = get_args(kind)
            _expect(name, f"one of {list(known)}", self, lambda value, known=known: value in known)
        _expect("max_value", "1 or 255", self, lambda value: value in (1, 255))
        _expect("mean", "three numbers", self, _is_colour)
        _expect("std", "three numbers but 0", self, lambda v: _is_colour(v) and all(v))
        _expect("legacy_boxes", "True or False", self, lambda value: isinstance(value, bool))

    def resized_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing, each at least 1."""
        if self.rounding == "short_side":
            return _short_side_size(height, width, self.size, self.max_size)
        scale = min(self.size / min(height, width), self.max_size / max(height, width))
        half = 0.5 if self.rounding == "nearest" else 0.0
        return max(1, int(height * scale + half)), max(1, int(width * scale + half))

    def image(self, image: Image.Image) -> Tensor:
        """RGB image -> float32 [3, H, W], resized and normalised."""
        import numpy as np  # here, so that the model's config needs no package but torch
        from PIL.Image import Resampling

        height, width = self.resized_size(image.height, image.width)
        if self.interpolation == "pillow" and (width, height) != image.size:
            image = image.resize((width, height), Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        if self.interpolation == "opencv" and pixels.shape[1:] != (height, width):
            pixels = _interpolate(pixels.float(), height, width).add_(0.5).floor_()
        tensor = self._normalized(pixels.float())
        if self.interpolation == "torch" and tensor.shape[1:] != (height, width):
            tensor = _interpolate(tensor, height, width)
        return tensor.contiguous()

    def boxes(self, boxes: Tensor, before: tuple[int, int], after: tuple[int, int]) -> Tensor:
        """Boxes float32 [M, 4] (x1 y1 x2 y2) of an image (height, width) `before` it was resized to
        `after`, in the pixels of `after` and the convention of `legacy_boxes`."""
        if self.legacy_boxes:
            boxes = boxes - boxes.new_tensor([0.0, 0.0, 1.0, 1.0])
        ratio = torch.tensor(after, dtype=torch.float32) / torch.tensor(before, dtype=torch.float32)
        return boxes * ratio.flip(0).repeat(2)

    def _normalized(self, pixels: Tensor) -> Tensor:
        if self.channel_order == "bgr":
            pixels = pixels.flip(0)
        if self.max_value == 1:
            pixels = pixels / 255
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (self.mean, self.std))
        return (pixels - mean) / std

    def to_dict(self) -> dict[str, Any]:
        return {**self._asdict(), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        found = cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
        found.check()
        return found


PREPROCESSING: dict[str, Preprocessing] = {
    "paper": Preprocessing(rounding="short_side"),
    "improved": Preprocessing(),
    "torchvision": Preprocessing(rounding="floor", interpolation="torch"),
    "detectron2": Preprocessing(),
    "mmdet": Preprocessing(interpolation="opencv"),
}
"""The resize rule of each preset, with the colours of torchvision's backbones."""


def _short_side_size(height: int, width: int, size: int, max_size: int) -> tuple[int, int]:
    """fcos_core's: where the long side would exceed the limit, the short one is rounded first."""
    short, long = min(height, width), max(height, width)
    if long / short * size > max_size:
        size = max(1, round(max_size * short / long))
    if height < width:
        return size, max(1, int(size * width / height))
    return max(1, int(size * height / width)), size


def _interpolate(image: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(image[None], (height, width), mode="bilinear", align_corners=False)[0]


def _expect(name: str, expected: str, values: Preprocessing, fulfilled: Any) -> None:
    value = getattr(values, name)
    if not fulfilled(value):
        raise ValueError(f"{name} must be {expected}, got {brief(value)}")


def _is_side(value: object) -> bool:
    return isinstance(value, int) and 1 <= value <= _MAX_SIDE


def _is_colour(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 3
        and all(isinstance(number, int | float) for number in value)
    )
