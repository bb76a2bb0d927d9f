"""Batches: collation, and a training stream whose order depends on the seed and the step alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import TrainingError, UserError
from ..structures import GroundTruth, ImageBatch, join_ground_truth, pad_images
from .augmentation import DRAWS, Augmentation
from .dataset import DetectionDataset, Sample
from .order import TrainingOrder, stream_generator

_WORKER_DIED = (
    "a process that loads images was killed, as where memory or /dev/shm is full: "
    "take fewer --workers or a smaller --batch"
)


class Batch(NamedTuple):
    """What a loader yields.

    Attributes:
        images: padded images.
        truth: boxes to train on.
        image_ids: ids in the annotation file.
        original_sizes: int64 [B, 2], (height, width) of the image files.
    """

    images: ImageBatch
    truth: GroundTruth
    image_ids: list[int | str]
    original_sizes: Tensor


def collate(samples: Sequence[Sample]) -> Batch:
    """Pad the images of the samples to one size and join their boxes."""
    return Batch(
        pad_images([s.image for s in samples]),
        join_ground_truth([s.boxes for s in samples], [s.labels for s in samples]),
        [s.image_id for s in samples],
        torch.tensor([s.original_size for s in samples], dtype=torch.int64),
    )


class EndlessSampler(Sampler[tuple[int, int]]):
    """(position, index) for positions start, start + 1, ... of an order.

    A run that resumes at any step therefore sees the same images as one that was never interrupted.
    """

    def __init__(self, order: TrainingOrder, start: int = 0) -> None:
        self.order, self.start = order, start

    def __iter__(self) -> Iterator[tuple[int, int]]:
        position = self.start
        while True:
            epoch, first = divmod(position, self.order.length)
            for index in self.order.epoch(epoch)[first:]:
                yield position, index
                position += 1


class ShareOfSteps(Sampler[tuple[int, int]]):
    """What one process takes of a stream of keys: of every `batch` of them an equal share.

    Process r of W takes the keys r * batch / W up to (r + 1) * batch / W of each batch.
    """

    def __init__(self, keys: Iterable[tuple[int, int]], batch: int, rank: int, world: int) -> None:
        self.keys, self.batch = keys, batch
        self.first, self.last = rank * batch // world, (rank + 1) * batch // world

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for number, key in enumerate(self.keys):
            if self.first <= number % self.batch < self.last:
                yield key


class TrainingStream(Dataset[Sample]):
    """A dataset indexed by the sampler's (position, index), each image in a view of its own.

    The view is drawn from (seed, position), so it depends neither on the number of workers nor on
    which of them loads the image.
    """

    def __init__(self, dataset: DetectionDataset, seed: int, augmentation: Augmentation) -> None:
        self.dataset, self.seed, self.augmentation = dataset, seed, augmentation

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        position, index = key
        generator = stream_generator(self.seed, 2 * position + 1)
        draws = torch.rand(DRAWS, generator=generator).tolist()
        return self.dataset.sample(index, self.augmentation.view(draws))


class Unread(NamedTuple):
    """An item of a data set that cannot be read, by its key, and why."""

    key: Any
    error: Exception


OnUnread = Callable[[Unread], None]


def raise_unread(unread: Unread) -> None:
    raise unread.error


class Batches:
    """The `Batch`es of a data set, loaded by `workers` processes or, if 0, by this one.

    An error of the data is raised as it is, whichever process met it. A TrainingError says that a
    worker was killed.

    Args:
        on_unread: called with what cannot be read, which its batch then lacks.
        options: of `DataLoader`.
    """

    def __init__(
        self,
        dataset: Dataset[Sample],
        workers: int,
        on_unread: OnUnread = raise_unread,
        **options: Any,
    ) -> None:
        self._on_unread = on_unread
        self._loader: DataLoader[Sample | Unread] = DataLoader(
            _Reporting(dataset),
            num_workers=workers,
            collate_fn=_collate_what_is_read,
            worker_init_fn=_leave_signals_to_the_main_process,
            **options,
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Generator[Batch, None, None]:
        batches = _start(self._loader)
        while True:
            try:
                batch, unread = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                raise TrainingError(_WORKER_DIED) from error
            for item in unread:
                self._on_unread(item)
            if batch is not None:
                yield batch


def _start(loader: DataLoader[Any]) -> Iterator[Any]:
    """Start the workers of a loader.

    Where one is killed, torch's handler of SIGCHLD raises in the middle of whatever this process
    does, such as a step. Without it, the loader finds out when it waits for the next batch.
    """
    before = signal.getsignal(signal.SIGCHLD)
    batches = iter(loader)
    if signal.getsignal(signal.SIGCHLD) is not before:
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
    return batches


class _Reporting(Dataset["Sample | Unread"]):
    """Returns the error of an item instead of raising it: a worker process of the loader would put
    its whole traceback into the message."""

    def __init__(self, dataset: Dataset[Sample]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: Any) -> Sample | Unread:
        try:
            return self.dataset[key]
        except (UserError, OSError) as error:
            return Unread(key, error)


def _collate_what_is_read(items: Sequence[Sample | Unread]) -> tuple[Batch | None, list[Unread]]:
    """The batch is None where nothing of it can be read."""
    samples = [item for item in items if isinstance(item, Sample)]
    unread = [item for item in items if isinstance(item, Unread)]
    return collate(samples) if samples else None, unread


def _leave_signals_to_the_main_process(_worker: int) -> None:
    """A terminal or a batch system signals every process, but the main one decides when to end.

    A worker that died of SIGTERM would raise an error there in the middle of a step; one that ends
    by itself only does when the next batch is asked for.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def training_loader(
    dataset: DetectionDataset,
    *,
    batch: int,
    seed: int,
    parts: int = 1,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    start_step: int = 0,
    augmentation: Augmentation | None = None,
    aspect_groups: bool = False,
    pin_memory: bool = False,
) -> Batches:
    """Endless training `Batch`es that begin at `start_step`: `parts` of them a step, which are the
    share of process `rank` of `world` in its `batch` images.

    aspect_groups: steps of wide images alone and of tall ones alone; see `TrainingOrder`.
    """
    wide = dataset.annotated.wide() if aspect_groups else None
    order = TrainingOrder(len(dataset), seed, batch=batch, wide=wide)
    keys = EndlessSampler(order, start_step * batch)
    return Batches(
        TrainingStream(dataset, seed, augmentation or Augmentation()),
        workers,
        batch_size=batch // (parts * world),
        sampler=ShareOfSteps(keys, batch, rank, world),
        pin_memory=pin_memory,
    )


def evaluation_loader(
    dataset: DetectionDataset,
    *,
    batch: int,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
    on_unread: OnUnread = raise_unread,
) -> Batches:
    """`Batch`es over the dataset once, in order; of `world` processes, each takes every world-th
    of the same ones.

    on_unread: called with each image that cannot be read, by its number; it is then left out.
    """
    starts = range(rank * batch, len(dataset), world * batch)
    batches = [range(start, min(start + batch, len(dataset))) for start in starts]
    return Batches(dataset, workers, on_unread, batch_sampler=batches)
