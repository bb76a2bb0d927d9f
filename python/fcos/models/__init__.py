"""The FCOS network."""

from .detector import FCOS, LOSS_NAMES, ModelConfig
from .resnet import load_backbone_weights
from .variant import VARIANTS, Variant

__all__ = ["FCOS", "LOSS_NAMES", "VARIANTS", "ModelConfig", "Variant", "load_backbone_weights"]
