"""The FCOS network."""

from .config import ModelConfig
from .detector import FCOS, LOSS_NAMES
from .resnet import load_backbone_weights
from .variant import VARIANTS, Variant
from .weights import load_weights

__all__ = [
    "FCOS",
    "LOSS_NAMES",
    "VARIANTS",
    "ModelConfig",
    "Variant",
    "load_backbone_weights",
    "load_weights",
]
