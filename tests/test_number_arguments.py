"""Every number and every word that an op takes: what counts as one, and what is refused by name."""

import math
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import fcos_ops
from fcos_ops import ASSIGNMENT_RULES, POSTPROCESS_RULES, Level, LossRule

SIGNS = torch.tensor([[0.5, -1.0, 2.0], [-0.3, 0.1, -2.0]], dtype=torch.float64)
LABELS, PAIR = torch.tensor([2, -1]), torch.tensor([0, 2])
BOXES = torch.tensor([[1.0, 2.0, 9.0, 8.0], [1.5, 2.5, 9.0, 9.5]], dtype=torch.float64)
SCORES = torch.tensor([0.9, 0.8], dtype=torch.float64)
LEVEL = Level(2, 3, 8, 8, 8.0, -1.0, 64.0)
HEADS = [[torch.linspace(-1, 2, 6 * n).double().reshape(1, n, 2, 3)] for n in (2, 4, 1)]


def focal(**options: Any) -> Tensor:
    return fcos_ops.sigmoid_focal_loss(SIGNS, LABELS, **options)


def padded(**options: Any) -> Any:
    options = {"iou_threshold": 0.5, "score_threshold": 0.1, "max_detections": 2, **options}
    return fcos_ops.nms_padded(BOXES, SCORES, None, PAIR, **options)


def assigned(level: Level = LEVEL, **changes: Any) -> Any:
    rule = ASSIGNMENT_RULES["improved"]._replace(**changes)
    return fcos_ops.assign_targets([level], BOXES, LABELS, PAIR, rule=rule)


def detected(location_offset: Any = 0.5, **changes: Any) -> Any:
    rule = POSTPROCESS_RULES["improved"]._replace(**changes)
    sizes = torch.tensor([[16, 24]])
    return fcos_ops.postprocess(
        *HEADS, sizes, levels=[LEVEL], rule=rule, location_offset=location_offset
    )


def trained(expected_scale: Any = None, **changes: Any) -> Any:
    return fcos_ops.fcos_loss(
        *HEADS,
        BOXES,
        LABELS,
        PAIR,
        levels=[LEVEL],
        loss=LossRule(**changes),
        expected_scale=expected_scale,
    )


# The name in messages, the call, and a number that it takes.
REAL: list[tuple[str, Callable[[Any], Any], float]] = [
    ("alpha", lambda n: focal(alpha=n), 0.5),
    ("gamma", lambda n: focal(gamma=n), 3),
    ("normalizer", lambda n: focal(normalizer=n), 3),
    ("normalizer", lambda n: fcos_ops.iou_loss(BOXES, BOXES + 1, normalizer=n), 3),
    ("normalizer", lambda n: fcos_ops.centerness_loss(SCORES, SCORES, normalizer=n), 3),
    ("normalizer_floor", lambda n: focal(normalizer=1e40, normalizer_floor=n), 2),
    ("normalizer_floor", lambda n: focal(normalizer=SCORES[0], normalizer_floor=n), 2),
    ("eps", lambda n: fcos_ops.iou_loss(BOXES, BOXES + 1, eps=n), 0.25),
    ("iou_threshold", lambda n: fcos_ops.nms(BOXES, SCORES, n), 0.25),
    ("iou_threshold", lambda n: fcos_ops.batched_nms(BOXES, SCORES, LABELS, n), 0.25),
    ("iou_threshold", lambda n: padded(iou_threshold=n), 0.25),
    ("score_threshold", lambda n: padded(score_threshold=n), 0.5),
    ("rule.location_offset", lambda n: assigned(location_offset=n), 0.25),
    ("rule.center_radius", lambda n: assigned(center_radius=n), 2),
    ("rule.max_area", lambda n: assigned(max_area=n), 50),
    ("levels[0].scale", lambda n: assigned(LEVEL._replace(scale=n)), 3),
    ("levels[0].lower", lambda n: assigned(LEVEL._replace(lower=n)), 3),
    ("levels[0].upper", lambda n: assigned(LEVEL._replace(upper=n)), 7),
    ("location_offset", lambda n: detected(location_offset=n), 0.25),
    ("rule.score_threshold", lambda n: detected(score_threshold=n), 0.5),
    ("rule.iou_threshold", lambda n: detected(iou_threshold=n), 0.25),
    ("loss.alpha", lambda n: trained(alpha=n), 0.5),
    ("loss.gamma", lambda n: trained(gamma=n), 3),
    ("loss.eps", lambda n: trained(eps=n), 0.25),
    ("expected_scale", lambda n: trained(expected_scale=n), 2),
]
WHOLE: list[tuple[str, Callable[[Any], Any], int]] = [
    ("max_detections", lambda n: padded(max_detections=n), 1),
    ("rule.max_detections", lambda n: detected(max_detections=n), 3),
    ("rule.candidates_per_level", lambda n: detected(candidates_per_level=n), 3),
    ("rule.max_detections_per_class", lambda n: detected(max_detections_per_class=n), 2),
    ("levels[0].height", lambda n: assigned(LEVEL._replace(height=n)), 4),
    ("levels[0].width", lambda n: assigned(LEVEL._replace(width=n)), 4),
    ("levels[0].stride_y", lambda n: assigned(LEVEL._replace(stride_y=n)), 4),
    ("levels[0].stride_x", lambda n: assigned(LEVEL._replace(stride_x=n)), 4),
]
EVERY = REAL + WHOLE
TAKES_HUGE = {"gamma", "normalizer", "normalizer_floor", "eps", "score_threshold"}
TAKES_HUGE |= {"location_offset", "center_radius", "max_area", "scale", "lower", "upper"}

every_backend = pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)


def named(cases: list[Any]) -> Any:
    ids = [f"{name}-{number}" for number, (name, *_) in enumerate(cases)]
    return pytest.mark.parametrize("name, call, good", cases, ids=ids)


class Lies:
    """Compares as smaller than, equal to and greater than everything."""

    def __lt__(self, other: object) -> bool:
        return True

    __le__ = __gt__ = __ge__ = __eq__ = __lt__  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


class LyingInt(Lies, int):
    def __index__(self) -> int:
        return 1


class LyingFloat(Lies, float):
    pass


def assert_same(actual: Any, expected: Any) -> None:
    """Bit by bit; NaN where `expected` is."""
    if isinstance(actual, Tensor):
        actual, expected = (actual,), (expected,)
    for one, other in zip(actual, expected, strict=True):
        assert torch.equal(one.nan_to_num(nan=-7.0), other.nan_to_num(nan=-7.0))


@every_backend
@named(REAL)
def test_real_numbers_of_every_type(name: str, call: Any, good: float, backend: str) -> None:
    with fcos_ops.backend(backend):
        expected = call(float(good))
        types: list[Callable[[float], Any]] = [Fraction, np.float32, np.float64, LyingFloat]
        if good == int(good):
            types += [int, np.int64, np.uint8, LyingInt]
        for make in types:
            assert_same(call(make(good)), expected)


@every_backend
@named(WHOLE)
def test_whole_numbers_of_every_type(name: str, call: Any, good: int, backend: str) -> None:
    with fcos_ops.backend(backend):
        for make in (np.int64, np.uint8, LyingInt):
            assert_same(call(make(good)), call(good))


@every_backend
@named(EVERY)
def test_numbers_beyond_a_double(name: str, call: Any, good: float, backend: str) -> None:
    for number in (10**400, -(10**400), 10**5000, LyingInt(10**400)):
        message = rf"^{re.escape(name)} must be .*, got (int|LyingInt) "
        with fcos_ops.backend(backend), pytest.raises(ValueError, match=message):
            call(number)


@every_backend
@named(EVERY)
def test_what_is_no_number(name: str, call: Any, good: float, backend: str) -> None:
    wrong: list[Any] = [True, "1", Decimal(1), 1j, np.array([1.0, 2.0]), [1.0], np.True_]
    if "normalizer" not in name and name != "expected_scale":
        wrong.append(torch.tensor(1.0))
    if (name, call, good) in WHOLE:
        wrong += [1.0, np.float64(1), Fraction(1, 2)]
    for value in wrong:
        message = rf"^{re.escape(name)} must be an? (number|int), got {type(value).__name__}"
        if isinstance(value, Tensor):
            message = rf"^{re.escape(name)} must be an? (number|int), got torch.float32 tensor of"
        with fcos_ops.backend(backend), pytest.raises(TypeError, match=message):
            call(value)


@every_backend
@named(EVERY)
def test_comparisons_of_a_subclass_are_not_asked(
    name: str, call: Any, good: float, backend: str
) -> None:
    """A negative count and a NaN are refused, whatever they say of themselves."""
    bad = LyingInt(-(2**40)) if (name, call, good) in WHOLE else LyingFloat(math.nan)
    message = rf"^{re.escape(name)} must be (in|finite).*, got (nan|int -1099511627776)$"
    with fcos_ops.backend(backend), pytest.raises(ValueError, match=message):
        call(bad)


@named([case for case in REAL if re.sub(r".*\.", "", case[0]) in TAKES_HUGE])
def test_numbers_that_no_integer_type_or_float_holds(name: str, call: Any, good: float) -> None:
    """The same natively and in the reference, in maths of float64 and of float32."""
    for number in (2**63, 10**30):
        with fcos_ops.backend("reference"):
            expected = call(number)
            assert_same(expected, call(float(number)))
        found = call(number)
        found, expected = ((r,) if isinstance(r, Tensor) else r for r in (found, expected))
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-30, equal_nan=True)


@every_backend
def test_levels_and_floors_that_float32_does_not_hold(backend: str) -> None:
    logits, boxes = SIGNS.float(), BOXES.float()
    with fcos_ops.backend(backend):
        for dtype in (torch.float32, torch.float16, torch.int64):
            for reduction in ("sum", "none"):
                loss = fcos_ops.sigmoid_focal_loss(
                    logits,
                    LABELS,
                    normalizer=torch.tensor(3, dtype=dtype),
                    normalizer_floor=1e39,
                    reduction=reduction,
                )
                # Not a float32 but for the steps below 1.2e-38, which may count as 0.
                torch.testing.assert_close(loss, torch.zeros_like(loss), rtol=0, atol=1e-38)
        level = LEVEL._replace(lower=-1e300, upper=1e300)
        found = fcos_ops.assign_targets([level], boxes, LABELS, PAIR)
        level = LEVEL._replace(lower=-math.inf, upper=math.inf)
        assert_same(found, fcos_ops.assign_targets([level], boxes, LABELS, PAIR))


# The name in messages, and the call.
WORDS: list[tuple[str, Callable[[Any], Any]]] = [
    ("reduction", lambda word: focal(reduction=word)),
    ("reduction", lambda word: fcos_ops.iou_loss(BOXES, BOXES, reduction=word)),
    ("reduction", lambda word: fcos_ops.centerness_loss(SCORES, SCORES, reduction=word)),
    ("kind", lambda word: fcos_ops.iou_loss(BOXES, BOXES, kind=word)),
    ("box_format", lambda word: fcos_ops.iou_loss(BOXES, BOXES, box_format=word)),
    ("rule.center_region", lambda word: assigned(center_region=word)),
    ("rule.area_rule", lambda word: assigned(area_rule=word)),
    ("rule.threshold_on", lambda word: detected(threshold_on=word)),
    ("rule.rank_by", lambda word: detected(rank_by=word)),
    ("rule.score", lambda word: detected(score=word)),
    ("rule.clip", lambda word: detected(clip=word)),
    ("loss.box_loss", lambda word: trained(box_loss=word)),
    ("loss.box_weight", lambda word: trained(box_weight=word)),
    ("loss.normalizer", lambda word: trained(normalizer=word)),
]


@pytest.mark.parametrize("name, call", WORDS)
def test_words(name: str, call: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(name)} must be one of \(.*, got 'avg'$"):
        call("avg")
    for value in (np.array([1.0, 2.0]), np.array(["sum", "sum"]), 5, None, b"sum", SIGNS, ["sum"]):
        with pytest.raises(TypeError, match=rf"^{re.escape(name)} must be one of \(.*, got "):
            call(value)


@every_backend
def test_a_normalizer_whose_inverse_is_no_number(backend: str) -> None:
    losses: list[Callable[..., Tensor]] = [
        focal,
        lambda **options: fcos_ops.iou_loss(BOXES, BOXES + 1, **options),
        lambda **options: fcos_ops.centerness_loss(SCORES, SCORES, **options),
    ]
    with fcos_ops.backend(backend):
        for loss in losses:
            for number in (1e-320, 1e-310, 1e-39, 1.17e-38, 0, 0.0, -3.0, math.inf):
                message = r"^normalizer must be a finite number >= 1.2e-38, .*, got "
                with pytest.raises(ValueError, match=message):
                    loss(normalizer=number, normalizer_floor=0.0)
            divided = loss(normalizer=2e-38, normalizer_floor=0.0)
            torch.testing.assert_close(divided * 2e-38, loss(), rtol=1e-13, atol=0)
