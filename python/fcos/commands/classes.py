"""The categories that --classes names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import UserError, a_few, brief


def find_classes(known: Mapping[int, tuple[int, str]], classes: str) -> list[int]:
    """Keys of the categories that are given by name or id, with commas between them.

    Args:
        known: (id, name) of each category, by any key.

    Raises:
        UserError: there is none of that name or id.
    """
    names = [name for _, name in known.values()]
    texts = [classes] if classes in names else classes.split(",")
    found = set()
    for text in map(str.strip, texts):
        own = [key for key, (_, name) in known.items() if text == name]
        own = own or [key for key, (number, _) in known.items() if text == str(number)]
        if not own:
            raise UserError(
                f"--classes must be names or ids of categories, of {a_few(names)}, "
                f"got {brief(text)}"
            )
        found.update(own)
    return sorted(found)


def of_categories(ground_truth: dict[str, Any], ids: Iterable[int]) -> dict[str, Any]:
    """The ground truth of some of its categories alone.

    Raises:
        UserError: it has none of them.
    """
    kept = set(ids)
    categories = [category for category in ground_truth["categories"] if category["id"] in kept]
    if not categories:
        names = [category["name"] for category in ground_truth["categories"]]
        raise UserError(f"--classes must be categories of the data, {a_few(names)}, got no such")
    annotations = [a for a in ground_truth["annotations"] if a["category_id"] in kept]
    return {**ground_truth, "categories": categories, "annotations": annotations}
