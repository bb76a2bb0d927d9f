"""Weights of any origin: read, recognised and loaded."""

from .files import read_weights_file
from .imagenet import BackboneWeights, load_backbone, read_backbone_weights
from .loading import build, load_weights
from .state import unwrap

__all__ = [
    "BackboneWeights",
    "build",
    "load_backbone",
    "load_weights",
    "read_backbone_weights",
    "read_weights_file",
    "unwrap",
]
