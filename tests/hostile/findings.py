"""What can be wrong with a call, and the differences that are stated and meant."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from tests.hostile.calls import Call, names_argument

CRASH, HANG = "crash", "hang"
EXCEPTION = "wrong exception type"
MESSAGE = "message names no argument"
REFUSED = "valid call refused"
DIFFERENCE = "silent difference"
MODIFIED = "modified input"
SHARED = "output shares an input's memory"
THREADS = "thread difference"
RUNS = "run difference"
KINDS = (
    *(CRASH, HANG, EXCEPTION, MESSAGE, REFUSED),
    *(DIFFERENCE, MODIFIED, SHARED, THREADS, RUNS),
)


class Finding(NamedTuple):
    kind: str
    detail: str


class Known(NamedTuple):
    """A difference that is meant: which findings it explains, and why it is right."""

    reason: str
    explains: Callable[[Call, Finding], bool]


def _divided_by_nan(call: Call, finding: Finding) -> bool:
    if finding.kind != DIFFERENCE or ": 0, expected nan" not in finding.detail:
        return False
    normalizer = call.arguments.get("normalizer")
    return isinstance(normalizer, Tensor) and bool(normalizer.isnan().all())


KNOWN = (
    Known(
        "what does not count (an ignored row, a place outside the mask) is 0 whatever the rest "
        "holds; the reference divides that 0 by a normalizer of NaN",
        _divided_by_nan,
    ),
)


def unexplained(call: Call, findings: list[Finding]) -> list[Finding]:
    return [f for f in findings if not any(known.explains(call, f) for known in KNOWN)]


def judged(
    error: BaseException,
    call: Call,
    allowed: tuple[type[BaseException], ...] = (TypeError, ValueError),
    also: tuple[str, ...] = (),
) -> list[Finding]:
    """What is wrong with an exception: its type, or a message that names neither an argument nor
    one of the words in `also`."""
    shown = f"{type(error).__name__}: {str(error)[:300]}"
    if not isinstance(error, allowed):
        return [Finding(EXCEPTION, shown)]
    message = str(error)
    if names_argument(message, call.function, call.broken) or any(w in message for w in also):
        return []
    return [Finding(MESSAGE, shown)]
