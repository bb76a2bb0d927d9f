"""Training in several processes, which is still to come."""

from __future__ import annotations

import os

from ..errors import UserError


def require_one_process() -> None:
    """Raises UserError under torchrun: every process would train the same model by itself."""
    if (world := os.environ.get("WORLD_SIZE", "1").strip()) not in ("", "1"):
        raise UserError(f"WORLD_SIZE must be 1, as training is not distributed yet, got {world}")
