"""Names of the parts of a data set: what tools call train, val and test."""

from __future__ import annotations

import re
from collections.abc import Collection

_USUAL = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def usual_name(name: str) -> str:
    """train, val or test where that is what the name means, else ""."""
    plain = re.sub(r"[\W_]*(19|20)\d\d$", "", name).lower()  # train2017, val_2014
    return next((usual for usual, names in _USUAL.items() if plain in names), "")


def choose(names: Collection[str], wanted: str) -> str | None:
    """The part that `wanted` means: of COCO's year, of that very name, or of the same meaning."""
    for exact in (f"{wanted}2017", wanted):
        if exact in names:
            return exact
    usual = usual_name(wanted)
    return next((name for name in names if usual and usual_name(name) == usual), None)
