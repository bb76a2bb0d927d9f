"""Which tensors the native library can read where they lie; new tensors."""

from collections.abc import Sequence

import torch
from torch import Tensor

def needs_copy(tensor: Tensor) -> bool:
    """Whether the rows of a [..., C] tensor are too irregular for one level view."""
    return tensor.dim() > 4 and not tensor.is_contiguous()


def empty(sizes: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """torch.empty(sizes), which takes half as long again to read its arguments."""
    if sizes:
        return torch.empty(*sizes, dtype=dtype, device=device)
    return torch.empty_strided((), (), dtype=dtype, device=device)
