"""The processes of one run, on torch.distributed."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from ..errors import TrainingError, UserError, brief, shorten
from ..interrupts import Interrupted, fatal_ctrl_c
from .last_words import LastWords
from .launch import Launch

# To meet at the start, and within a step; torch's own limit for NCCL.
_STEP_TIMEOUT = timedelta(minutes=10)
# Between steps, where the others wait while the process 0 evaluates or a disk is slow. One that
# ends is noticed at once, as its connections close; this is for one that hangs.
_PATIENCE = timedelta(hours=2)
_ALONE = Launch()
_FAILED = -1  # where a signal's number stands for an interrupted process, 0 for one that goes on


class Processes:
    """The processes of a run, of which this is one.

    Every method but `leave` is called by all of them at the same place, or by one that is alone.

    Args:
        launch: which of them this is. More than one: `joined` makes them.

    Attributes:
        launch: see there.
        rank, world: the number of this process, and of processes.
    """

    def __init__(self, launch: Launch = _ALONE) -> None:
        self.launch, self.rank, self.world = launch, launch.rank, launch.world
        # on the CPU, so that nothing waits for a GPU to agree
        self._control = (
            dist.new_group(backend="gloo", timeout=_PATIENCE) if self.world > 1 else None
        )

    @property
    def first(self) -> bool:
        """Whether this one writes and prints."""
        return self.rank == 0

    def check(self, error: BaseException | None = None) -> None:
        """Wait for the others, and stop with them where one has to.

        Raises:
            `error`, where one is given.
            Interrupted, TrainingError: another process was interrupted, or gave an error.
        """
        if self._control is None:
            if error is not None:
                raise error
            return
        codes = torch.zeros(self.world, dtype=torch.int64)
        if error is not None:
            codes[self.rank] = error.number if isinstance(error, Interrupted) else _FAILED
        dist.all_reduce(codes, group=self._control)
        if error is not None:
            raise error
        for rank, code in enumerate(codes.tolist()):
            if code > 0:
                raise Interrupted(code)
            if code:
                raise _StoppedByAnother(f"process {rank} ended with an error")

    def check_alike(self, values: dict[str, Any]) -> None:
        """UserError where a value, or one within a dictionary, is not the same in all processes."""
        values = dict(_flat(values))
        for rank, others in enumerate(self.gather_everywhere(values)):
            for name, value in values.items():
                if others.get(name) != value:
                    raise UserError(
                        f"{name} must be the same in all processes, got {brief(others.get(name))} "
                        f"in {rank}, {brief(value)} in {self.rank}: do all of them have the same "
                        "options, data and --output?"
                    )

    def gather_everywhere(self, value: Any) -> list[Any]:
        """The value of every process."""
        if self._control is None:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value, group=self._control)
        return values

    def gather(self, value: Any) -> list[Any]:
        """The value of every process, in the first one; nothing in the others."""
        if self._control is None:
            return [value]
        values: list[Any] | None = [None] * self.world if self.first else None
        dist.gather_object(value, values, group=self._control)
        return values or []

    def of_first(self, value: Any) -> Any:
        """What is the value of the first process."""
        if self._control is None:
            return value
        values = [value]
        dist.broadcast_object_list(values, group=self._control)
        return values[0]

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes of a tensor, on its device; nothing waits for it there."""
        if self._control is None:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.world

    def share(self, module: nn.Module) -> None:
        """Give weights and buffers the values that they have in the first process."""
        self.check()  # the others may be late, and have less patience within a step
        if self._control is None:
            return
        for tensor in module.state_dict().values():
            values = tensor.contiguous()
            dist.broadcast(values, 0)
            tensor.copy_(values)

    def averaging(self, module: nn.Module) -> nn.Module:
        """The module, such that a backward pass averages the gradients over the processes.

        Statistics of batch norms are those that the first process has of its own images.
        """
        return module if self._control is None else DistributedDataParallel(module)

    def leave(self, *, at_once: bool = False) -> None:
        """Close the connections, as others notice that wait for this process.

        at_once: without waiting for what the GPU still waits for.
        """
        self._control = None
        if at_once and dist.get_backend() == "nccl":
            dist.distributed_c10d._abort_process_group()
        else:
            dist.destroy_process_group()


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


class _StoppedByAnother(TrainingError):
    """Another process says why."""


@contextlib.contextmanager
def joined(launch: Launch, device: torch.device) -> Iterator[Processes]:
    """The processes of a launch as one run, by NCCL on CUDA devices and Gloo on CPUs.

    Raises:
        TrainingError: they do not find each other, or another one ended.
    """
    if launch.world == 1:
        yield Processes()
        return
    store, processes = _meet(launch, "nccl" if device.type == "cuda" else "gloo")
    last_words = LastWords(store, launch)
    try:
        yield processes
        processes.check()  # that none leaves whom another still needs
    except BaseException as error:
        lost = is_lost_connection(error)
        its_own = not (lost or isinstance(error, _StoppedByAnother))
        last_words.say(_brief_reason(error) if its_own else "")
        traceback.clear_frames(error.__traceback__)  # they hold groups, and so connections
        processes.leave(at_once=True)
        if not lost:
            last_words.wait_for_readers()
            raise
        raise TrainingError(last_words.who_ended()) from error
    processes.leave()


def _meet(launch: Launch, backend: str) -> tuple[dist.Store, Processes]:
    """The store by which the processes of a launch find each other, and this one of them."""
    rank, world = launch.rank, launch.world
    if rank == 0:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        print(f"waiting for {world} processes to meet at {place}", flush=True)
    try:
        with fatal_ctrl_c():
            store, *_ = next(dist.rendezvous("env://", rank, world, timeout=_STEP_TIMEOUT))
            dist.init_process_group(
                backend, store=store, rank=rank, world_size=world, timeout=_STEP_TIMEOUT
            )
            return store, Processes(launch)
    except (RuntimeError, ValueError) as error:
        reason = shorten(str(error).splitlines()[0])
        raise TrainingError(f"{world} processes did not meet: {reason}") from error


def _brief_reason(error: BaseException) -> str:
    if isinstance(error, Interrupted):
        return f"interrupted by {error}"
    if isinstance(error, UserError | TrainingError | OSError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def is_lost_connection(error: BaseException) -> bool:
    """Whether this is what torch raises where another process is gone, or does not answer."""
    if not isinstance(error, RuntimeError):
        return False
    return isinstance(error, dist.DistError) or "gloo/transport" in str(error)
