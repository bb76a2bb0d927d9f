"""Training and checkpoints."""

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
