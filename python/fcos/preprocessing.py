"""How an image file becomes the network's input: resized, in the network's colours, normalised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import brief
from .opencv_resize import resize_like_opencv

if TYPE_CHECKING:
    from PIL import Image

    Recolour = Callable[[Image.Image], Image.Image]

Rounding = Literal["nearest", "two_steps", "floor", "short_side"]
Interpolation = Literal["pillow", "torch", "opencv"]
ChannelOrder = Literal["rgb", "bgr"]

_MAX_SIDE = 100_000
_MIN_STD = 1e-3


class Preprocessing(NamedTuple):
    """From pixels to the network's input. Batches are padded with zeros, bottom-right, to multiples
    of 32 after this, in every published variant.

    Attributes:
        size: short side, pixels, unless the long side would exceed `max_size`.
        max_size: limit of the long side, pixels.
        rounding: how the sides become whole. "nearest": mmdetection. "two_steps": detectron2,
            AdelaiDet; to the nearest, too, but what is scaled to `size` and then to `max_size` may
            be another last bit, and pixel, than what is scaled at once. "floor": torchvision.
            "short_side": fcos_core, where the short side is whole and the long one is cut down.
        interpolation: all bilinear. "pillow": antialiased, in 8 bits. "torch": not antialiased, in
            floating point after normalisation, as torchvision does. "opencv": not antialiased, in
            8 bits; see `resize_like_opencv`.
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
        side = f"a whole number from 1 to {_MAX_SIDE}"
        roundings, interpolations, orders = map(get_args, (Rounding, Interpolation, ChannelOrder))
        fields = {
            "size": (_is_side(self.size), side),
            "max_size": (_is_side(self.max_size), side),
            "rounding": (self.rounding in roundings, f"one of {list(roundings)}"),
            "interpolation": (
                self.interpolation in interpolations,
                f"one of {list(interpolations)}",
            ),
            "channel_order": (self.channel_order in orders, f"one of {list(orders)}"),
            "max_value": (self.max_value in (1, 255) and self.max_value is not True, "1 or 255"),
            "mean": (_is_colour(self.mean, 0), "three numbers from 0 to 255"),
            "std": (_is_colour(self.std, _MIN_STD), f"three numbers from {_MIN_STD} to 255"),
            "legacy_boxes": (isinstance(self.legacy_boxes, bool), "True or False"),
        }
        for name, (fulfilled, expected) in fields.items():
            if not fulfilled:
                raise ValueError(f"{name} must be {expected}, got {brief(getattr(self, name))}")

    def resized_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing, each at least 1."""
        if self.rounding == "short_side":
            new_height, new_width = _short_side_size(height, width, self.size, self.max_size)
        elif self.rounding == "two_steps":
            new_height, new_width = _two_steps_size(height, width, self.size, self.max_size)
        else:
            scale = min(self.size / min(height, width), self.max_size / max(height, width))
            half = 0.5 if self.rounding == "nearest" else 0.0
            new_height, new_width = int(height * scale + half), int(width * scale + half)
        return max(1, new_height), max(1, new_width)

    def image(self, image: Image.Image, recolour: Recolour | None = None) -> Tensor:
        """RGB image -> float32 [3, H, W], resized and normalised.

        Args:
            recolour: changes the colours of an RGB image; called where there are fewer pixels,
                before or after resizing ("torch": before).

        Raises:
            ValueError: an image of another mode, whose channels would be taken for colours.
        """
        import numpy as np  # here, as the help of the commands needs neither
        from PIL import Image

        if image.mode != "RGB":
            raise ValueError(f"image must be in mode RGB, got {image.mode}")
        height, width = self.resized_size(image.height, image.width)
        resize = (width, height) != image.size
        shrinks = width * height < image.width * image.height and self.interpolation != "torch"
        if recolour and not shrinks:
            image = recolour(image)
        if resize and self.interpolation == "pillow":
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        elif resize and self.interpolation == "opencv":
            stored = torch.from_numpy(np.array(image))
            image = Image.fromarray(resize_like_opencv(stored, height, width).byte().numpy())
        if recolour and shrinks:
            image = recolour(image)
        tensor = self._normalized(torch.from_numpy(np.array(image)).permute(2, 0, 1))
        if resize and self.interpolation == "torch":
            tensor = F.interpolate(tensor[None], (height, width), mode="bilinear")[0]
        return tensor

    def picture(self, tensor: Tensor) -> Image.Image:
        """The RGB image that a tensor [3, H, W] of `image`, padded or not, shows the network."""
        from PIL import Image

        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (self.mean, self.std))
        pixels = (tensor * std + mean) * (255 / self.max_value)
        if self.channel_order == "bgr":
            pixels = pixels.flip(0)
        pixels = pixels.round().clamp(0, 255).to(torch.uint8)
        return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())

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
        # made contiguous while it is small, and in place: several times faster
        tensor = pixels.contiguous().float()
        if self.max_value == 1:
            tensor.div_(255)
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (self.mean, self.std))
        return tensor.sub_(mean).div_(std)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, which a checkpoint can hold."""
        return {**self._asdict(), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The rule that `to_dict` wrote. ValueError: it holds other keys, or bad values."""
        if values.keys() != set(cls._fields):
            expected = ", ".join(cls._fields)
            raise ValueError(f"preprocessing must hold {expected}, got {brief(list(values))}")
        lists = {name: values[name] for name in ("mean", "std") if isinstance(values[name], list)}
        found = cls(**{**values, **{name: tuple(value) for name, value in lists.items()}})
        found.check()
        return found


PREPROCESSING: dict[str, Preprocessing] = {
    "paper": Preprocessing(rounding="short_side"),
    "improved": Preprocessing(),
    "torchvision": Preprocessing(rounding="floor", interpolation="torch"),
    "detectron2": Preprocessing(rounding="two_steps"),
    "mmdet": Preprocessing(interpolation="opencv"),
}
"""The resize rule of each preset, with the colours of torchvision's backbones."""


def _short_side_size(height: int, width: int, size: int, max_size: int) -> tuple[int, int]:
    """fcos_core's: where the long side would exceed the limit, the short one is rounded first; to 1
    where that is 0, with which it fails."""
    short, long = min(height, width), max(height, width)
    if long / short * size > max_size:
        size = max(1, round(max_size * short / long))
    if height < width:
        return size, int(size * width / height)
    return int(size * height / width), size


def _two_steps_size(height: int, width: int, size: int, max_size: int) -> tuple[int, int]:
    """detectron2's: the short side is scaled to `size`, then, where needed, the long one."""
    scale = size / min(height, width)
    new_height, new_width = height * scale, width * scale
    if height < width:
        new_height = size
    else:
        new_width = size
    if max(new_height, new_width) > max_size:
        scale = max_size / max(new_height, new_width)
        new_height, new_width = new_height * scale, new_width * scale
    return int(new_height + 0.5), int(new_width + 0.5)


def _is_side(value: object) -> bool:
    return isinstance(value, int) and value is not True and 1 <= value <= _MAX_SIDE


def _is_colour(value: object, least: float) -> bool:
    """Whether it is a tuple of three numbers from `least` to 255; NaN is none."""
    return (
        isinstance(value, tuple)
        and len(value) == 3
        and all(isinstance(n, int | float) and not isinstance(n, bool) for n in value)
        and all(least <= n <= 255 for n in value)
    )
