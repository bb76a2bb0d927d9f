"""Annotated images: files of many forms, and what is trained on."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .coco import find_split
    from .dataset import CocoDataset, DetectionDataset, Sample
    from .loading import Batch, collate, evaluation_loader, training_loader

_MODULES = {
    "Batch": "loading",
    "CocoDataset": "dataset",
    "DetectionDataset": "dataset",
    "Sample": "dataset",
    "collate": "loading",
    "evaluation_loader": "loading",
    "find_split": "coco",
    "training_loader": "loading",
}

__all__ = [
    "Batch",
    "CocoDataset",
    "DetectionDataset",
    "Sample",
    "collate",
    "evaluation_loader",
    "find_split",
    "training_loader",
]


def __getattr__(name: str) -> object:
    """Each when it is asked for: annotations are read before torch is imported, which is slow."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
