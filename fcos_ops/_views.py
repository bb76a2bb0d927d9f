"""Tensors as the strided level views that the native library reads."""

from collections.abc import Sequence

from torch import Tensor

LevelTuple = tuple[int, int, int, int, int, int, int]


def needs_copy(tensor: Tensor) -> bool:
    """Whether the rows of a [..., C] tensor are too irregular for one level view."""
    return tensor.dim() > 4 and not tensor.is_contiguous()


def row_extents(tensor: Tensor) -> tuple[int, int, int]:
    """(batch, height, width) under which the rows of a [..., C] tensor form one level.

    A contiguous tensor is one long line of rows; any other keeps its dimensions.
    """
    if tensor.is_contiguous():
        return 1, 1, tensor.numel() // tensor.shape[-1] if tensor.shape[-1] else 0
    sizes = (1, 1, 1, *tensor.shape[:-1])[-3:]
    return sizes[0], sizes[1], sizes[2]


def row_view(tensor: Tensor, extents: tuple[int, int, int]) -> LevelTuple:
    """The view of a [..., C] tensor under extents that `row_extents` gave for it or for a tensor
    that is laid out no worse."""
    address = tensor.data_ptr()
    _, height, width = extents
    if tensor.is_contiguous():
        classes = tensor.shape[-1]
        return address, height, width, height * width * classes, width * classes, classes, 1
    batch_stride, y_stride, x_stride, channel_stride = (0, 0, 0, *tensor.stride())[-4:]
    return address, height, width, batch_stride, y_stride, x_stride, channel_stride


def level_views(tensors: Sequence[Tensor]) -> list[LevelTuple]:
    """The views of [B, C, H, W] tensors, one a level of the pyramid."""
    views = []
    for tensor in tensors:
        batch_stride, channel_stride, y_stride, x_stride = tensor.stride()
        _, _, height, width = tensor.shape
        views.append(
            (tensor.data_ptr(), height, width, batch_stride, y_stride, x_stride, channel_stride)
        )
    return views
