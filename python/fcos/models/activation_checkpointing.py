"""Activation checkpointing (Chen et al., arXiv 1604.06174): less memory for more computation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def checkpointed(block: nn.Module, x: Tensor) -> Tensor:
    """block(x), of which only x is kept for the backward pass, which computes the block again.

    The block draws no random numbers. Its buffers move once, in the forward pass.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _buffers_kept(block)

    if torch.compiler.is_compiling():
        # it takes no such contexts and needs none: it moves statistics in the forward pass only
        return checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)
    return checkpoint(block, x, use_reentrant=False, context_fn=contexts, preserve_rng_state=False)


@contextmanager
def _buffers_kept(block: nn.Module) -> Iterator[None]:
    """Statistics of batch norms, which the same batch must not move twice, are put back."""
    before = [buffer.clone() for buffer in block.buffers()]
    try:
        yield
    finally:
        for buffer, value in zip(block.buffers(), before, strict=True):
            buffer.copy_(value)
