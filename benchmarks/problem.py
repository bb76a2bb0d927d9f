"""The canonical problem: a pyramid of an 800 x 1344 image, 22,400 locations, 80 classes."""

import torch
from torch import Tensor

import fcos_ops

IMAGE_SIZE = (800, 1344)
STRIDES = (8, 16, 32, 64, 128)
SIZES = tuple((-(-IMAGE_SIZE[0] // s), -(-IMAGE_SIZE[1] // s)) for s in STRIDES)
LOCATIONS = sum(height * width for height, width in SIZES)
CLASSES = 80


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator(torch.get_default_device()).manual_seed(seed)


def on_gpu() -> bool:
    return torch.get_default_device().type == "cuda"


def batch() -> int:
    """Images: 2 on a CPU, 16 on a GPU."""
    return 16 if on_gpu() else 2


def variants() -> tuple[tuple[int, torch.dtype], ...]:
    """Images and the dtype of what a head puts out. A GPU meets half precision, and a single image,
    too."""
    if not on_gpu():
        return ((batch(), torch.float32),)
    dtypes = (torch.float32, torch.bfloat16, torch.float16)
    return (*((batch(), dtype) for dtype in dtypes), (1, torch.float32), (1, torch.bfloat16))


def with_dtype(name: str, dtype: torch.dtype) -> str:
    """The name of a case; float32 goes without saying."""
    return name if dtype == torch.float32 else f"{name}, {str(dtype).removeprefix('torch.')}"


def rounding(dtype: torch.dtype) -> float:
    """By how much, in proportion, two results of one dtype differ that were rounded to it: nothing
    in float32, whose results carry a tolerance of their own."""
    return 0.0 if dtype == torch.float32 else torch.finfo(dtype).eps


def objects(batch: int, per_image: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, labels and offsets: log-uniform sides of 8 to 600 pixels, as COCO's are roughly."""
    g = generator(seed)
    count = batch * per_image
    sides = torch.exp(torch.empty(count, 2).uniform_(2.1, 6.4, generator=g))
    limits = torch.tensor([IMAGE_SIZE[1], IMAGE_SIZE[0]])
    sides = torch.minimum(sides, limits)
    corners = torch.rand(count, 2, generator=g) * (limits - sides)
    boxes = torch.cat([corners, corners + sides], 1)
    labels = torch.randint(0, CLASSES, (count,), generator=g)
    return boxes, labels, torch.arange(batch + 1) * per_image


def levels() -> tuple[fcos_ops.Level, ...]:
    return fcos_ops.pyramid_levels(SIZES)


def logits(batch: int, seed: int = 0) -> Tensor:
    """[batch, locations, classes] as a detector early in training gives: bias -4.6 and noise."""
    return torch.randn(batch, LOCATIONS, CLASSES, generator=generator(seed)) - 4.6
