"""Which image a training sees at which position: a function of the position, so that any step can
begin there, whichever process takes it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def stream_generator(seed: int, stream: int) -> torch.Generator:
    """Random numbers of the epoch or position that a stream stands for: 2 * epoch and
    2 * position + 1."""
    # an odd multiplier (2^64 / golden ratio) keeps the streams of neighbouring seeds apart
    return torch.Generator().manual_seed((seed * 0x9E3779B97F4A7C15 + stream) % (1 << 63))


class TrainingOrder:
    """A data set shuffled again and again: epoch e is positions e * length to (e + 1) * length.

    Every epoch holds every image once, in an order drawn from (seed, e).

    Args:
        length: of the data set.
        seed: of the order.
        batch: images a step; step s takes positions s * batch to (s + 1) * batch.
        wide: bool [length], the images to be kept apart from the others, which makes the padding of
            a batch small. Each batch then is of one kind, but at most one an epoch, of what is left
            over of both; one that two epochs share is of one kind where either has enough of it.
            The order depends on `batch`, too.
    """

    def __init__(
        self, length: int, seed: int, *, batch: int = 1, wide: NDArray[np.bool_] | None = None
    ) -> None:
        self.length, self.seed, self.batch = length, seed, batch
        self._wide = None if wide is None else torch.from_numpy(wide)

    def epoch(self, number: int) -> list[int]:
        """The images of an epoch in their order."""
        generator = stream_generator(self.seed, 2 * number)
        if self._wide is None:
            return torch.randperm(self.length, generator=generator).tolist()
        begins_wide = self._begins_wide(generator)
        ends_wide = self._begins_wide(stream_generator(self.seed, 2 * number + 2))
        order = torch.randperm(self.length, generator=generator)
        kinds = [order[~self._wide[order]], order[self._wide[order]]]
        # what belongs to the batch that the epoch before began, and what begins one of the next
        first = min(self.length, -number * self.length % self.batch)
        begin = _take(kinds, first, begins_wide)
        end = _take(kinds, (self.length - first) % self.batch, ends_wide)
        pieces = [piece for kind in kinds for piece in kind.split(self.batch) if len(piece)]
        batches = [piece for piece in pieces if len(piece) == self.batch]
        if rest := [piece for piece in pieces if len(piece) < self.batch]:
            batches.append(torch.cat(rest))
        shuffled = torch.randperm(len(batches), generator=generator).tolist()
        return torch.cat([begin, *(batches[place] for place in shuffled), end]).tolist()

    def _begins_wide(self, generator: torch.Generator) -> bool:
        """Whether the batch before the first whole one is of wide images, by the generator of its
        epoch, as often as images are."""
        assert self._wide is not None
        return bool(torch.rand((), generator=generator) < self._wide.float().mean())


def _take(kinds: list[Tensor], count: int, wanted: bool) -> Tensor:
    """Cut `count` images off the kind that is wanted and, where it is too short, the other."""
    taken = []
    for kind in (wanted, not wanted):
        own = min(count, len(kinds[kind]))
        count -= own
        kinds[kind], cut = kinds[kind].split([len(kinds[kind]) - own, own])
        taken.append(cut)
    return torch.cat(taken)
