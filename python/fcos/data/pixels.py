"""Images as a program holds them: paths, PIL images, arrays and tensors, all to RGB."""

from __future__ import annotations

import os

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .images import convert_image, load_image

AnyImage = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor
IMAGE_TYPES = (str, os.PathLike, Image.Image, np.ndarray, Tensor)
KINDS = "a path, a PIL image, a numpy array or a tensor"


def rgb_image(image: AnyImage, name: str = "image") -> Image.Image:
    """Any image as an RGB image of 8 bits.

    Args:
        image: a path: as `load_image` reads it, upright. A PIL image of any mode, as `load_image`
            converts it; not turned. A numpy array [H, W, 3] in RGB, [H, W, 1] or [H, W]. A tensor
            [3, H, W] in RGB, [1, H, W] or [H, W]. Arrays and tensors are uint8, or floating point
            from 0 to 1, which is rounded to 8 bits.
        name: of the image, for errors.

    Raises:
        FileNotFoundError, UserError: of `load_image`.
        TypeError: no such image, or another dtype.
        ValueError: another shape or range of values; a PIL image that cannot be decoded.
    """
    if isinstance(image, str | os.PathLike):
        return load_image(image)
    if isinstance(image, Image.Image):
        rgb = convert_image(image, name)
    elif isinstance(image, np.ndarray):
        rgb = _from_array(image, image.shape, "[H, W, 3], [H, W, 1] or [H, W]", name)
    elif isinstance(image, Tensor):
        pixels = image.detach().cpu()
        if pixels.is_floating_point():
            pixels = pixels.to(torch.float32)  # numpy has no bfloat16
        array = np.moveaxis(pixels.numpy(), 0, -1) if pixels.ndim == 3 else pixels.numpy()
        rgb = _from_array(array, tuple(image.shape), "[3, H, W], [1, H, W] or [H, W]", name)
    else:
        raise TypeError(f"{name} must be {KINDS}, got {type(image).__name__}")
    if 0 in rgb.size:
        raise ValueError(f"{name} must have at least one pixel, got {rgb.width} x {rgb.height}")
    return rgb


def _from_array(array: np.ndarray, shape: tuple[int, ...], expected: str, name: str) -> Image.Image:
    """array: channels last; shape, expected: as the caller knows them."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3)):
        raise ValueError(f"{name} must be {expected}, got {list(shape)}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if np.issubdtype(array.dtype, np.floating):
        array = _to_8_bits(array, name)
    elif array.dtype != np.uint8:
        raise TypeError(f"{name} must be of uint8, or floats from 0 to 1, got {array.dtype}")
    return Image.fromarray(array).convert("RGB")


def _to_8_bits(array: np.ndarray, name: str) -> np.ndarray:
    levels = np.rint(array * 255)
    if not ((levels >= 0) & (levels <= 255)).all():  # so is a NaN
        raise ValueError(
            f"{name} must be floats from 0 to 1 (divide by 255, or convert to uint8), "
            f"got {array.min():g} to {array.max():g}"
        )
    return levels.astype(np.uint8)
