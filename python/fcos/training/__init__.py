"""Training and checkpoints."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..errors import TrainingError
    from .checkpoint import load_checkpoint, save_checkpoint
    from .ema import ModelEMA
    from .records import Record
    from .settings import TrainingSettings
    from .trainer import Trainer

__all__ = [
    "ModelEMA",
    "Record",
    "Trainer",
    "TrainingError",
    "TrainingSettings",
    "load_checkpoint",
    "save_checkpoint",
]

_MODULES = {
    "ModelEMA": ".ema",
    "Record": ".records",
    "Trainer": ".trainer",
    "TrainingError": "..errors",
    "TrainingSettings": ".settings",
    "load_checkpoint": ".checkpoint",
    "save_checkpoint": ".checkpoint",
}


def __getattr__(name: str) -> object:
    """Each when it is asked for: the settings, which the command line needs, import no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name], __name__), name)
