"""A complete FCOS detector on top of fcos_ops: model, data, training, evaluation, drawing.

The command line is `fcos --help`; `python -m fcos` is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .models import FCOS, ModelConfig

__all__ = ["FCOS", "ModelConfig"]


def __getattr__(name: str) -> object:
    """The model when it is asked for, so that the command line can say that torch is missing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import models

    return getattr(models, name)
