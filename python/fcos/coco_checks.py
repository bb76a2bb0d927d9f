"""What pycocotools reads amiss without a word, refused by name.

It takes a NaN box for a perfect match, an annotation with id 0 for one that was never found, two
annotations with the same id for one; it drops results of an unknown category.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

from .errors import UserError

Entry = dict[str, Any]
_Rules = tuple[tuple[str, str, Callable[[Any], bool]], ...]


def check_ground_truth(ground_truth: Entry) -> None:
    """UserError where an annotation would not be evaluated as it says."""
    seen: set[object] = set()
    rules = (
        *_common_rules(ground_truth),
        ("area", "a finite number", _is_finite),
        ("iscrowd", "0 or 1", lambda value: _is_finite(value) and value in (0, 1)),
        ("id", "a number of at least 1", lambda value: _is_finite(value) and value >= 1),
        ("id", "that of no annotation before it", lambda value: value not in seen),
    )
    for position, annotation in enumerate(ground_truth["annotations"]):
        _check(f"ground_truth annotations[{position}]", annotation, rules)
        seen.add(annotation["id"])


def check_results(ground_truth: Entry, results: list[Entry]) -> None:
    """UserError where a result would not be evaluated as it says."""
    rules = (*_common_rules(ground_truth), ("score", "a finite number", _is_finite))
    for position, result in enumerate(results):
        _check(f"results[{position}]", result, rules)


def _common_rules(ground_truth: Entry) -> _Rules:
    images = {image["id"] for image in ground_truth["images"]}
    categories = {category["id"] for category in ground_truth["categories"]}
    return (
        ("image_id", "the id of an image of ground_truth", lambda value: _is_in(value, images)),
        ("category_id", "that of a category of it", lambda value: _is_in(value, categories)),
        ("bbox", "four finite numbers", _is_box),
    )


def _check(name: str, entry: Entry, rules: _Rules) -> None:
    for field, expected, fulfilled in rules:
        if not fulfilled(entry.get(field)):
            got = repr(entry[field]) if field in entry else "nothing"
            raise UserError(f"{name}.{field} must be {expected}, got {got}")


def _is_in(value: object, ids: set[Any]) -> bool:
    return isinstance(value, int | str) and value in ids


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _is_box(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 4 and all(map(_is_finite, value))
