"""A complete FCOS detector on top of fcos_ops: model, data, training, evaluation, drawing.

The command line is `fcos --help`; `python -m fcos` is the same.
"""

from .models import FCOS, ModelConfig

__all__ = ["FCOS", "ModelConfig"]
