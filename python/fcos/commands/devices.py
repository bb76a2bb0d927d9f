"""Where a command computes, and with how many processes beside it."""

from __future__ import annotations

import os

import torch

from ..errors import UserError

_MOST_WORKERS = 8


def default_workers(device: torch.device) -> int:
    """How many processes load images where --workers does not say it: one for each core that this
    process may use, at most 8, beside a GPU; none beside a CPU, which has work enough."""
    if device.type == "cpu":
        return 0
    return min(_MOST_WORKERS, len(os.sched_getaffinity(0)))


def choose_device(name: str | None) -> torch.device:
    """The device of --device; without it CUDA where PyTorch sees it, else the CPU.

    Raises:
        UserError: it is none of these, or not here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device must be cpu, cuda or cuda:N, got {name!r}") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"--device must be cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        there = torch.cuda.device_count()
        raise UserError(f"--device must be here, got {name}: PyTorch sees {there} CUDA devices")
    return device
