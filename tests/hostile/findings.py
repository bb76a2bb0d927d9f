"""What can be wrong with a call, and the differences that are stated and meant."""

import re
from collections.abc import Callable
from numbers import Real
from typing import NamedTuple

from torch import Tensor

from fcos_ops import LossRule
from tests.hostile.calls import Call, names_argument, slots

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
    zero_beside_nan = (": 0, expected nan", ": nan, expected 0")
    if finding.kind != DIFFERENCE or not any(text in finding.detail for text in zero_beside_nan):
        return False
    normalizer = call.arguments.get("normalizer")
    return isinstance(normalizer, Tensor) and bool(normalizer.isnan().all())


def _beside_an_infinite_box(call: Call, finding: Finding) -> bool:
    """A small error of a gradient of boxes, one of which has an infinite side."""
    error = re.match(r"gradient \d+: error (\S+) by norm, allowed (\S+):", finding.detail)
    if error is None or float(error[1]) > 100 * float(error[2]):
        return False
    maps = [v for (name, _), v in slots(call) if name in ("pred", "target", "ltrb")]
    return any(isinstance(m, Tensor) and bool(m.isinf().any()) for m in maps)


def _of_equal_boxes(call: Call, finding: Finding) -> bool:
    """An error so small that only a gradient of identical boxes can be smaller."""
    error = re.match(r"gradient \d+: error (\S+) by norm, allowed", finding.detail)
    is_of_boxes = call.function in ("iou_loss", "fcos_loss")
    return is_of_boxes and error is not None and float(error[1]) < 1e-13


def _of_a_small_eps(call: Call, finding: Finding) -> bool:
    """A quotient by eps that float32 does not hold."""
    rule = call.arguments.get("loss")
    eps = rule.eps if isinstance(rule, LossRule) else call.arguments.get("eps", 1.0)
    overflows = re.search(": (inf|nan), expected", finding.detail)
    return finding.kind == DIFFERENCE and overflows is not None and eps < 1e-7


def _of_an_infinite_normalizer(call: Call, finding: Finding) -> bool:
    normalizer = call.arguments.get("normalizer")
    is_infinite = isinstance(normalizer, Tensor) and bool(normalizer.isinf().all())
    return is_infinite and ": 0, expected nan" in finding.detail


def _of_a_large_gamma(call: Call, finding: Finding) -> bool:
    """Dense targets: u^gamma multiplies the rounding of u by gamma."""
    labels, gamma = call.arguments.get("labels"), call.arguments.get("gamma", 2.0)
    is_dense = isinstance(labels, Tensor) and labels.is_floating_point()
    return finding.kind == DIFFERENCE and is_dense and isinstance(gamma, Real) and gamma > 10


KNOWN = (
    Known(
        "under a normalizer of NaN what does not count (an ignored row, a place outside the mask) "
        "is 0 and all else NaN; the reference divides that 0, too, and keeps the zeros of a clamp",
        _divided_by_nan,
    ),
    Known(
        "an infinite side is clamped to 2^33, beside which the differences of areas that a "
        "gradient is made of keep few bits: 1e-4 of it in float64",
        _beside_an_infinite_box,
    ),
    Known(
        "the gradient of identical boxes is what rounding leaves where all terms cancel",
        _of_equal_boxes,
    ),
    Known(
        "IoU losses are finite for every box from the default eps of 1e-7 on, as they say",
        _of_a_small_eps,
    ),
    Known("a normalizer of infinity makes 0 of an infinite loss", _of_an_infinite_normalizer),
    Known("dense targets: u^gamma has gamma times the rounding of u", _of_a_large_gamma),
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
