"""The batches that a process trains on, as the settings have them."""

from __future__ import annotations

from collections.abc import Generator

import torch

from ..data import Batch, DetectionDataset, training_loader
from ..data.augmentation import Augmentation
from ..data.scales import parse_scales
from ..distributed.launch import Launch
from .settings import TrainingSettings


def batches_from(
    step: int,
    dataset: DetectionDataset,
    settings: TrainingSettings,
    launch: Launch,
    device: torch.device,
) -> Generator[Batch, None, None]:
    """From a step on, `settings.accumulate` a step: the share of this process. Closing it ends the
    workers. Raises what `Batches` raises."""
    loader = training_loader(
        dataset,
        batch=settings.batch,
        parts=settings.accumulate,
        rank=launch.rank,
        world=launch.world,
        seed=settings.seed,
        workers=settings.workers,
        start_step=step,
        augmentation=Augmentation(
            settings.flip, parse_scales(settings.scales), settings.colour_jitter
        ),
        aspect_groups=settings.aspect_groups,
        pin_memory=device.type == "cuda",
    )
    return iter(loader)
