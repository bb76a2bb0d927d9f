"""Copies of inputs for the native library, checked, and small however large a tensor; outputs."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fcos_ops import _checks


def contiguous(name: str, tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """`tensor`, or a contiguous copy, of that dtype if given. BufferError where it has no memory,
    which torch's copy would not notice."""
    if dtype is not None and tensor.dtype != dtype:
        tensor = cast(name, tensor, dtype)
    if tensor.is_contiguous():
        return tensor
    return readable(name, tensor).contiguous()


def check_offsets_to_copy(offsets: Tensor, total: int) -> None:
    """Checks offsets that are not contiguous, such as those expanded from one number, before they
    are copied and results for so many images allocated: the native call sees them too late."""
    if not offsets.is_contiguous():
        _checks.offsets("offsets", readable("offsets", offsets), total)


def cast(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """`tensor`, or a copy of that dtype. BufferError where it has no memory, which torch's copy
    would not notice."""
    if tensor.dtype == dtype:
        return tensor
    if tensor.is_complex():
        raise TypeError(f"{name} must have a real dtype, got {tensor.dtype}")
    return readable(name, tensor).to(dtype)


def readable(name: str, tensor: Tensor) -> Tensor:
    """`tensor`, which has memory; else BufferError, as of a call of the native library."""
    if not has_memory(tensor):
        raise BufferError(f"{name} must have memory, got a tensor whose data is not allocated")
    return tensor


def has_memory(tensor: Tensor) -> bool:
    """Whether the address of a plain tensor is more than an offset from null."""
    base = tensor.data_ptr() - tensor.storage_offset() * tensor.element_size()
    return base != 0 or tensor.numel() == 0


def needs_copy(tensor: Tensor) -> bool:
    """Whether the rows of a [..., C] tensor are too irregular for one level view."""
    return tensor.dim() > 4 and not tensor.is_contiguous()


def level_view(name: str, tensor: Tensor) -> Tensor:
    """A [..., C] tensor, or a contiguous copy where its rows are too irregular for one level view.
    BufferError as of `contiguous`."""
    return tensor if tensor.dim() <= 4 else contiguous(name, tensor)


CHUNK_SIZE = 2**22  # elements that an op copies at a time, where it must


def chunks(tensors: Sequence[Tensor | None], dimensions: int) -> list[Any]:
    """Tensors cut alike into chunks of at most CHUNK_SIZE elements of the first, so that their
    copies stay small however large a tensor was expanded from little.

    They agree in their first `dimensions` dimensions, which alone are cut.
    """
    first = tensors[0]
    assert first is not None
    if first.numel() <= CHUNK_SIZE or dimensions == 0:
        return [tensors]
    length = first.shape[0]
    if length == 1:
        return chunks([None if t is None else t[0] for t in tensors], dimensions - 1)
    step = max(CHUNK_SIZE * length // first.numel(), 1)
    result = []
    for start in range(0, length, step):
        cut = [None if t is None else t[start : start + step] for t in tensors]
        result += chunks(cut, dimensions)
    return result


def empty(sizes: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """torch.empty(sizes), which takes half as long again to read its arguments."""
    if sizes:
        return torch.empty(*sizes, dtype=dtype, device=device)
    return torch.empty_strided((), (), dtype=dtype, device=device)


def empty_like(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """An output of the shape of a [..., C] tensor, in its layout if one level view covers that."""
    layout = torch.contiguous_format if needs_copy(tensor) else torch.preserve_format
    return torch.empty_like(tensor, dtype=dtype, memory_format=layout)
