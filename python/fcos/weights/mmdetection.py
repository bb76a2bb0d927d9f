"""mmdetection's FCOS."""

from __future__ import annotations

from ..errors import UserError
from .conversion import Converted, Source


def convert(source: Source) -> Converted:
    """See `layouts.convert`."""
    raise UserError("weights of mmdetection cannot be converted yet")
