"""Where a command computes."""

from __future__ import annotations

import torch

from ..errors import UserError


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
