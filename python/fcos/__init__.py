"""A complete FCOS detector on top of fcos_ops: model, data, training, evaluation, drawing.

The command line is `fcos --help`; `python -m fcos` is the same. From Python:

    import fcos

    detector = fcos.load("last.pth")
    for found in detector(["street.jpg", "park.jpg"], min_score=0.3):
        for name, score, box in zip(found.names, found.scores, found.boxes):
            print(f"{name} {score:.2f}", box.tolist())
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .detection.inference import load
    from .models import FCOS, ModelConfig

__all__ = ["FCOS", "ModelConfig", "load"]

_MODULES = {"FCOS": "models", "ModelConfig": "models", "load": "detection.inference"}


def __getattr__(name: str) -> object:
    """Each when it is asked for, so that the command line can say that torch is missing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
