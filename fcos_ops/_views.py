"""Tensors as the strided level views that the native library reads; new tensors."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# (tensor, height, width, batch stride, y stride, x stride, channel stride), for every level; or
# (tensor, rows, channels), one level of contiguous rows.
Levels = tuple[Tensor | int, ...]


def needs_copy(tensor: Tensor) -> bool:
    """Whether the rows of a [..., C] tensor are too irregular for one level view."""
    return tensor.dim() > 4 and not tensor.is_contiguous()


def row_extents(tensor: Tensor) -> tuple[int, int, int]:
    """(batch, height, width) under which the rows of a [..., C] tensor form one level.

    A contiguous tensor is one long line of rows; any other keeps its dimensions.
    """
    if tensor.is_contiguous():
        channels = tensor.shape[-1]
        return 1, 1, tensor.numel() // channels if channels else 0
    sizes = (1, 1, 1, *tensor.shape[:-1])[-3:]
    return sizes[0], sizes[1], sizes[2]


def row_view(tensor: Tensor, extents: tuple[int, int, int]) -> Levels:
    """The view of a [..., C] tensor under extents that `row_extents` gave for it or for a tensor
    that is laid out no worse."""
    batch, height, width = extents
    if tensor.is_contiguous():
        channels = tensor.shape[-1]
        if batch == height == 1:
            return tensor, width, channels
        return tensor, height, width, height * width * channels, width * channels, channels, 1
    batch_stride, y_stride, x_stride, channel_stride = (0, 0, 0, *tensor.stride())[-4:]
    return tensor, height, width, batch_stride, y_stride, x_stride, channel_stride


PIECE = 2**22  # elements that an op copies at a time, where it must


def pieces(tensors: Sequence[Tensor | None], dimensions: int) -> list[Any]:
    """Tensors cut alike into pieces of at most PIECE elements of the first, so that their copies
    stay small however large a tensor was expanded from little.

    They agree in their first `dimensions` dimensions, which alone are cut.
    """
    first = tensors[0]
    assert first is not None
    if first.numel() <= PIECE or dimensions == 0:
        return [tensors]
    length = first.shape[0]
    if length == 1:
        return pieces([None if t is None else t[0] for t in tensors], dimensions - 1)
    step = max(PIECE * length // first.numel(), 1)
    result = []
    for start in range(0, length, step):
        cut = [None if t is None else t[start : start + step] for t in tensors]
        result += pieces(cut, dimensions)
    return result


@contextmanager
def sum_of_pieces(total: Tensor | None, count: int) -> Iterator[Sequence[Tensor | None]]:
    """Where each of `count` pieces puts its sum; their sum goes to `total`, if it is wanted."""
    if total is None:
        yield [None] * count
        return
    sums = total.new_empty(count)
    yield sums.unbind()
    total.copy_(sums.double().sum())


def level_views(tensors: Sequence[Tensor]) -> Levels:
    """The views of [B, C, H, W] tensors, one a level of the pyramid."""
    views: list[Tensor | int] = []
    for tensor in tensors:
        batch_stride, channel_stride, y_stride, x_stride = tensor.stride()
        _, _, height, width = tensor.shape
        views += (tensor, height, width, batch_stride, y_stride, x_stride, channel_stride)
    return tuple(views)


def empty(sizes: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """torch.empty(sizes), which takes half as long again to read its arguments."""
    if sizes:
        return torch.empty(*sizes, dtype=dtype, device=device)
    return torch.empty_strided((), (), dtype=dtype, device=device)
