"""COCO-format data."""

from .coco import CocoDataset, Sample, find_split
from .loading import Batch, collate, evaluation_loader, training_loader

__all__ = [
    "Batch",
    "CocoDataset",
    "Sample",
    "collate",
    "evaluation_loader",
    "find_split",
    "training_loader",
]
