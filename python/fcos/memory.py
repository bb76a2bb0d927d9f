"""Running out of memory, which every library says in its own way."""

from __future__ import annotations

ADVICE = "out of memory: take a smaller --size, --batch or model, or fewer --workers"
_WORDS = ("out of memory", "defaultcpuallocator", "alloc_failed", "cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, or PyTorch on any device, could not get the memory it asked for."""
    if isinstance(error, RuntimeError):
        text = str(error).lower()
        return any(words in text for words in _WORDS)
    return isinstance(error, MemoryError)
