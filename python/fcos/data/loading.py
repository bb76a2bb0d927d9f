"""Batches: collation, and a training stream whose order depends on the seed and the step alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..structures import GroundTruth, ImageBatch, join_ground_truth, pad_images
from .coco import CocoDataset, Sample


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
    image_ids: list[int]
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
    """(position, index) for positions start, start + 1, ...: a shuffled dataset, again and again.

    Epoch e is positions e * length up to (e + 1) * length, in an order drawn from (seed, e). A run
    that resumes at any step therefore sees the same images as one that was never interrupted.
    """

    def __init__(self, length: int, seed: int, start: int = 0) -> None:
        self.length, self.seed, self.start = length, seed, start

    def __iter__(self) -> Iterator[tuple[int, int]]:
        position = self.start
        while True:
            epoch, first = divmod(position, self.length)
            order = torch.randperm(self.length, generator=_generator(self.seed, 2 * epoch)).tolist()
            for index in order[first:]:
                yield position, index
                position += 1


class TrainingStream(Dataset[Sample]):
    """A dataset indexed by the sampler's (position, index), with random horizontal flips.

    The flip is drawn from (seed, position), so it depends neither on the number of workers nor on
    which of them loads the image.
    """

    def __init__(self, dataset: CocoDataset, seed: int, flip_probability: float = 0.5) -> None:
        self.dataset, self.seed, self.flip_probability = dataset, seed, flip_probability

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        position, index = key
        draw = torch.rand((), generator=_generator(self.seed, 2 * position + 1)).item()
        return self.dataset.sample(index, flip=draw < self.flip_probability)


def _generator(seed: int, stream: int) -> torch.Generator:
    # an odd multiplier (2^64 / golden ratio) keeps the streams of neighbouring seeds apart
    return torch.Generator().manual_seed((seed * 0x9E3779B97F4A7C15 + stream) % (1 << 63))


def training_loader(
    dataset: CocoDataset,
    *,
    batch: int,
    seed: int,
    workers: int = 0,
    start_step: int = 0,
    flip_probability: float = 0.5,
    pin_memory: bool = False,
) -> DataLoader[Sample]:
    """An endless loader of training `Batch`es that begins at `start_step`."""
    return DataLoader(
        TrainingStream(dataset, seed, flip_probability),
        batch_size=batch,
        sampler=EndlessSampler(len(dataset), seed, start_step * batch),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
    )


def evaluation_loader(dataset: CocoDataset, *, batch: int, workers: int = 0) -> DataLoader[Sample]:
    """A loader of `Batch`es over the dataset once, in order."""
    return DataLoader(dataset, batch_size=batch, num_workers=workers, collate_fn=collate)
