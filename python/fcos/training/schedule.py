"""Learning rate as a pure function of the step, so that resuming needs no scheduler state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from ..errors import UserError

ScheduleName = Literal["cosine", "step"]
WarmupName = Literal["linear", "constant"]


def learning_rate_factor(
    step: int,
    total: int,
    *,
    schedule: ScheduleName = "cosine",
    warmup: int = 0,
    warmup_kind: WarmupName = "linear",
    warmup_factor: float = 0.0,
    milestones: Sequence[float] = (2 / 3, 8 / 9),
    gamma: float = 0.1,
) -> float:
    """Factor on the base learning rate for step 0 <= step < total.

    The first `warmup` steps rise linearly from `warmup_factor`, but at least from 1 / (warmup + 1),
    or stay at it where `warmup_kind` is "constant", as in detectron2's and fcos_core's
    WarmupMultiStepLR. Meanwhile "cosine" waits, and then falls to 0 at `total`; "step" multiplies
    by `gamma` at each milestone: where it is below 1 a share of `total` (the defaults are the
    published 60k and 80k of 90k), else a step.
    """
    ramp = 1.0
    if step < warmup:
        start = max(warmup_factor, 1 / (warmup + 1))
        ramp = start if warmup_kind == "constant" else start + (1 - start) * step / warmup
    if schedule == "cosine":
        progress = max(0, step - warmup) / max(1, total - warmup)
        return ramp * 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "step":
        # rounded, as 9 / 11 * 77 is 63.00000000000001
        passed = sum(step >= (round(m * total, 6) if m < 1 else m) for m in milestones)
        return ramp * gamma**passed
    raise UserError(f"schedule must be 'cosine' or 'step', got {schedule!r}")
