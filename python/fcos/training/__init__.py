"""Training and checkpoints."""

from .checkpoint import InputSize, load_checkpoint, load_model, save_checkpoint
from .ema import ModelEMA
from .trainer import Trainer, TrainingError, TrainingSettings

__all__ = [
    "InputSize",
    "ModelEMA",
    "Trainer",
    "TrainingError",
    "TrainingSettings",
    "load_checkpoint",
    "load_model",
    "save_checkpoint",
]
