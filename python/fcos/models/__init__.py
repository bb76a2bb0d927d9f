"""The FCOS network."""

from .config import ModelConfig
from .detector import FCOS, LOSS_NAMES
from .variant import VARIANTS, Variant

__all__ = [
    "FCOS",
    "LOSS_NAMES",
    "VARIANTS",
    "ModelConfig",
    "Variant",
]
