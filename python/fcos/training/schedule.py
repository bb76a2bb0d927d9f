"""Learning rate as a pure function of the step, so that resuming needs no scheduler state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from ..errors import UserError

ScheduleName = Literal["cosine", "step"]


def learning_rate_factor(
    step: int,
    total: int,
    *,
    schedule: ScheduleName = "cosine",
    warmup: int = 0,
    milestones: Sequence[float] = (2 / 3, 8 / 9),
    gamma: float = 0.1,
) -> float:
    """Factor on the base learning rate for step 0 <= step < total.

    The first `warmup` steps rise linearly from 1 / (warmup + 1). Then "cosine" falls to 0 at
    `total`; "step" multiplies by `gamma` at each milestone, a fraction of `total` (the defaults are
    the published 60k and 80k of 90k).
    """
    ramp = min(1.0, (step + 1) / (warmup + 1))
    if schedule == "cosine":
        progress = max(0, step - warmup) / max(1, total - warmup)
        return ramp * 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "step":
        return ramp * gamma ** sum(step >= m * total for m in milestones)
    raise UserError(f"schedule must be 'cosine' or 'step', got {schedule!r}")
