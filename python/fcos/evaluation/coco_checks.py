"""What pycocotools reads amiss without a word, refused by name.

It takes a NaN box for a perfect match, an annotation with id 0 for one that was never found, two
annotations with the same id for one; it drops results of an unknown category, and passes over what
has an area below 0 or above 1e10.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..data.columns import Entry
from ..data.entries import MAX_AREA
from ..data.values import FOUR_NUMBERS
from ..errors import UserError, brief

_Rules = tuple[tuple[str, str, Callable[[Any], bool]], ...]


def check_ground_truth(ground_truth: Entry) -> None:
    """UserError where an annotation would not be evaluated as it says."""
    for key in ("images", "categories", "annotations"):
        if not isinstance(ground_truth.get(key), list):
            raise UserError(f"ground_truth must have a list {key!r}")
    for key, kinds in (("images", (Integral, str)), ("categories", (Integral,))):
        _check_ids(key, ground_truth[key], kinds)
    seen: set[object] = set()
    rules = (
        *_common_rules(ground_truth),
        ("bbox", FOUR_NUMBERS, _is_box),
        ("area", f"a finite number from 0 to {MAX_AREA:g}", _is_area),
        ("iscrowd", "0 or 1", lambda value: _is_finite(value) and value in (0, 1)),
        ("id", "a number of at least 1", lambda value: _is_finite(value) and value >= 1),
        ("id", "that of no annotation before it", lambda value: value not in seen),
    )
    for position, annotation in enumerate(ground_truth["annotations"]):
        _check(f"ground_truth annotations[{position}]", annotation, rules)
        seen.add(annotation["id"])


def check_results(ground_truth: Entry, results: list[Entry]) -> None:
    """UserError where a result would not be evaluated as it says."""
    rules: _Rules = (
        *_common_rules(ground_truth),
        (
            "bbox",
            f"{FOUR_NUMBERS}, of at most {MAX_AREA:g} square pixels",
            lambda value: _is_box(value) and _is_area(float(value[2]) * float(value[3])),
        ),
        ("score", "a finite number", _is_finite),
    )
    for position, result in enumerate(results):
        _check(f"results[{position}]", result, rules)


def _common_rules(ground_truth: Entry) -> _Rules:
    images = {image["id"] for image in ground_truth["images"]}
    categories = {category["id"] for category in ground_truth["categories"]}
    return (
        ("image_id", "the id of an image of ground_truth", lambda value: _is_in(value, images)),
        ("category_id", "that of a category of it", lambda value: _is_in(value, categories)),
    )


def _check_ids(key: str, entries: list[Entry], kinds: tuple[type, ...]) -> None:
    """Ids are sorted, so that they must be of one kind."""
    expected = " or ".join("a string" if kind is str else "a whole number" for kind in kinds)
    for position, entry in enumerate(entries):
        name = f"ground_truth {key}[{position}]"
        _check(name, entry, (("id", expected, lambda value: isinstance(value, kinds)),))
        if isinstance(entry["id"], str) != isinstance(entries[0]["id"], str):
            raise UserError(
                f"{name}.id must be of one type with {key}[0].id, {brief(entries[0]['id'])}, "
                f"got {brief(entry['id'])}"
            )


def _check(name: str, entry: Entry, rules: _Rules) -> None:
    if not isinstance(entry, dict):
        raise UserError(f"{name} must be a dictionary, got {brief(entry)}")
    for field, expected, fulfilled in rules:
        if not fulfilled(entry.get(field)):
            got = brief(entry[field]) if field in entry else "nothing"
            raise UserError(f"{name}.{field} must be {expected}, got {got}")


def _is_in(value: object, ids: set[Any]) -> bool:
    return isinstance(value, Integral | str) and value in ids


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _is_area(value: object) -> bool:
    return isinstance(value, Real) and 0 <= float(value) <= MAX_AREA


def _is_box(value: object) -> bool:
    if not isinstance(value, list | tuple | np.ndarray) or len(value) != 4:
        return False
    return all(map(_is_finite, value)) and value[2] >= 0 and value[3] >= 0
