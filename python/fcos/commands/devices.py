"""Where a command computes, and with how many processes beside it."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator

import torch

from ..distributed.launch import Launch, read_launch
from ..distributed.processes import Processes, joined
from ..errors import UserError

_ALONE = Launch()


@contextlib.contextmanager
def computing(options: argparse.Namespace) -> Iterator[tuple[torch.device, Processes]]:
    """The device of this process and the processes of its run, for `fcos train` and `eval`.

    Raises: as `read_launch`, `device_of_process` and `joined`.
    """
    launch = read_launch()
    device = device_of_process(options.device, launch)
    with joined(launch, device) as processes:
        yield device, processes


def device_of_process(name: str | None, launch: Launch) -> torch.device:
    """As `choose_device`; of several processes on GPUs each has its own, that of its local rank.

    Raises:
        UserError: as there; or it is the device of another process.
    """
    device = choose_device(name)
    if launch.world == 1 or device.type == "cpu":
        return device
    there = torch.cuda.device_count()
    if launch.local_rank >= there:
        raise UserError(
            f"a machine must have a GPU for each of its processes, PyTorch sees {there} here: "
            "start so many, or add --device cpu"
        )
    if device.index not in (None, launch.local_rank):
        raise UserError(
            f"--device must be cuda or cpu in several processes, as each has the GPU of its "
            f"LOCAL_RANK {launch.local_rank}, got {name}"
        )
    own = torch.device("cuda", launch.local_rank)
    torch.cuda.set_device(own)
    return own


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


def workers_of(
    options: argparse.Namespace, device: torch.device, processes: Processes | None = None
) -> int:
    """What --workers says, else `default_workers`."""
    launch = _ALONE if processes is None else processes.launch
    return getattr(options, "workers", default_workers(device, launch))


def default_workers(device: torch.device, launch: Launch) -> int:
    """How many processes load images where --workers does not say it: one for each of
    `Launch.cores` beside a GPU, none beside a CPU, which has work enough."""
    return 0 if device.type == "cpu" else launch.cores
