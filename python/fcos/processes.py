"""The processes of one run, on torch.distributed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from .errors import TrainingError, UserError, brief, shorten
from .interrupts import Interrupted
from .launch import Launch

# To meet at the start, and within a step; torch's own limit for NCCL.
_STEP_TIMEOUT = timedelta(minutes=10)
# Between steps, where the others wait while the process 0 evaluates or a disk is slow. One that
# ends is noticed at once, as its connections close; this is for one that hangs.
_PATIENCE = timedelta(hours=2)
_LAST_WORDS = timedelta(seconds=3)
_FAILED = -1  # where a signal's number stands for an interrupted process, 0 for one that goes on


class Processes:
    """The processes of a run, of which this is one.

    Every method is called by all of them at the same place, or by one that is alone.

    Args:
        launch: which of them this is. More than one: `joined` makes them.

    Attributes:
        rank, world: the number of this process, and of processes.
    """

    def __init__(self, launch: Launch = Launch()) -> None:  # noqa: B008 - it is immutable
        self.rank, self.world = launch.rank, launch.world
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
        """UserError where a value is not the same in all processes."""
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

    def explained(self, error: BaseException) -> BaseException:
        """What the error that ends this process is called, said to the others if it is its own."""
        if self._control is None or isinstance(error, _StoppedByAnother):
            return error
        lost = is_lost_connection(error)
        if not lost:
            first_line = (str(error).splitlines() or [""])[0]
            self._leave_word(shorten(first_line or type(error).__name__))
            return error
        return TrainingError(self._who_ended())

    def _leave_word(self, text: str) -> None:
        # the store is in the process 0 or in torchrun, and may be gone
        with contextlib.suppress(RuntimeError):
            _store().set(_word_of(self.rank), text)

    def _who_ended(self) -> str:
        """Which process ended first: the one that left word of its own error, or none at all."""
        self._leave_word("")
        silent = []
        try:
            for rank in range(self.world):
                try:
                    _store().wait([_word_of(rank)], _LAST_WORDS)
                except dist.DistStoreError:
                    silent.append(rank)
                    continue
                if text := _store().get(_word_of(rank)).decode():
                    return f"process {rank} ended with an error: {text}"
        except RuntimeError:
            return "process 0 ended, or the connection to it was lost"
        if not silent:
            return "the connection between processes was lost"
        numbers = ", ".join(map(str, silent))
        return f"process {numbers} ended without a word, as one that is killed"


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
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(
            backend, rank=launch.rank, world_size=launch.world, timeout=_STEP_TIMEOUT
        )
        processes = Processes(launch)
    except RuntimeError as error:
        reason = shorten(str(error).splitlines()[0])
        raise TrainingError(f"{launch.world} processes did not meet: {reason}") from error
    try:
        yield processes
    except BaseException as error:
        explained = processes.explained(error)
        if explained is error:
            raise
        raise explained from error
    finally:
        dist.destroy_process_group()


def is_lost_connection(error: BaseException) -> bool:
    """Whether this is what torch raises where another process is gone, or does not answer."""
    if not isinstance(error, RuntimeError):
        return False
    return isinstance(error, dist.DistError) or "gloo/transport" in str(error)


def _store() -> dist.Store:
    return dist.distributed_c10d._get_default_store()


def _word_of(rank: int) -> str:
    return f"fcos/ended/{rank}"
