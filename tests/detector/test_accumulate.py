"""A step in parts, one after the other, is the step in one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fcos.data import CocoDataset, find_split
from fcos.errors import UserError
from fcos.models import FCOS
from fcos.preprocessing import Preprocessing
from fcos.structures import join_ground_truth, pad_images
from fcos.training import Record, Trainer, TrainingSettings

from .helpers import annotation, image_entry, small_model, write_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> CocoDataset:
    """Of one size, as padding is part of what group norms see; boxes on some images only."""
    write_dataset(
        tmp_path,
        "train",
        [image_entry(i, 96, 64) for i in range(1, 7)],
        [annotation(i, 3, [4 * i, 6, 20 + 5 * i, 24]) for i in (1, 2, 2, 2, 5)],
    )
    preprocessing = Preprocessing(size=64, max_size=96)
    return CocoDataset(*find_split(tmp_path, "train"), preprocessing)


def _train(dataset: CocoDataset, output: Path, model: FCOS, accumulate: int) -> list[Record]:
    settings = TrainingSettings(
        steps=2, batch=6, lr=1e-3, warmup=0, log_every=1, ema=0.5, accumulate=accumulate
    )
    return list(Trainer(model, dataset, settings, output).run(progress=False))


@pytest.mark.parametrize("accumulate", [2, 3, 6])
@pytest.mark.parametrize("preset", ["improved", "paper", "torchvision", "detectron2", "mmdet"])
def test_parts_equal_the_whole(
    dataset: CocoDataset, tmp_path: Path, preset: str, accumulate: int
) -> None:
    """Whatever the losses are divided by: counts of the batch, of each image, a moving average."""
    begin, one, other = (small_model(preset=preset, norm="frozen_bn") for _ in range(3))
    whole = _train(dataset, tmp_path / "whole", one, 1)
    parts = _train(dataset, tmp_path / "parts", other, accumulate)
    for ours, theirs in zip(parts, whole, strict=True):  # float32 sums in another order
        assert ours.losses == pytest.approx(theirs.losses, rel=1e-5)
        assert ours.gradient_norm == pytest.approx(theirs.gradient_norm, rel=1e-5)
    before, expected = begin.state_dict(), one.state_dict()
    for name, value in other.state_dict().items():
        moved = (expected[name] - before[name]).norm()
        assert (value - expected[name]).norm() <= 1e-4 * moved + 1e-7, name


def test_normalizers_are_those_of_the_whole_batch(dataset: CocoDataset) -> None:
    """Bit for bit, though no map has been computed."""
    model = small_model().train()
    samples = [dataset[index] for index in range(6)]
    targets = [{"boxes": s.boxes, "labels": s.labels} for s in samples]
    seen = []
    model._normalizers = lambda counts: seen.append(counts) or counts  # type: ignore
    batch = pad_images([sample.image for sample in samples])
    model(batch, targets)
    truths = [
        join_ground_truth([s.boxes for s in part], [s.labels for s in part])
        for part in (samples[:1], samples[1:])
    ]
    model.normalizers_of_parts([batch.tensor.shape[2:]] * 2, truths)
    assert seen[0][0] > 0 and torch.equal(seen[0], seen[1])


def test_a_batch_without_equal_parts(dataset: CocoDataset, tmp_path: Path) -> None:
    message = "batch must be a multiple of 4, for 1 processes and accumulate 4, got 6"
    with pytest.raises(UserError, match=message):
        _train(dataset, tmp_path, small_model(), 4)
