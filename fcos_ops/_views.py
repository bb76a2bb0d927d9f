"""Which tensors the native library can read where they lie; new tensors."""

from collections.abc import Sequence

import torch
from torch import Tensor


def contiguous(name: str, tensor: Tensor) -> Tensor:
    """`tensor`, or a contiguous copy; torch would read one without memory."""
    if tensor.is_contiguous():
        return tensor
    return readable(name, tensor).contiguous()


def cast(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """`tensor`, or a copy of that dtype; torch would read one without memory."""
    if tensor.dtype == dtype:
        return tensor
    return readable(name, tensor).to(dtype)


def readable(name: str, tensor: Tensor) -> Tensor:
    """`tensor`, whose memory is there to be read."""
    base = tensor.data_ptr() - tensor.storage_offset() * tensor.element_size()
    if tensor.numel() > 0 and base == 0:
        raise BufferError(f"{name} must have memory, got a tensor whose data is not allocated")
    return tensor


def needs_copy(tensor: Tensor) -> bool:
    """Whether the rows of a [..., C] tensor are too irregular for one level view."""
    return tensor.dim() > 4 and not tensor.is_contiguous()


def empty(sizes: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """torch.empty(sizes), which takes half as long again to read its arguments."""
    if sizes:
        return torch.empty(*sizes, dtype=dtype, device=device)
    return torch.empty_strided((), (), dtype=dtype, device=device)
