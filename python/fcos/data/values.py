"""Values of files that people and tools write: numbers, also in quotes, and text."""

from __future__ import annotations

import math

FOUR_NUMBERS = "four finite numbers x, y, width >= 0, height >= 0"


def whole(value: object) -> int | None:
    """A whole number: 3, 3.0 or "3"; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    parsed = number(value)
    return None if parsed is None or not parsed.is_integer() else int(parsed)


def number(value: object) -> float | None:
    """A finite number: 2.5 or "2.5"; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        parsed = float(value)
    except (ValueError, OverflowError):
        return None
    return parsed if math.isfinite(parsed) else None


def four_numbers(value: object) -> list[float] | None:
    """A box as FOUR_NUMBERS says; None for anything else."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    numbers = [parsed for parsed in map(number, value) if parsed is not None]
    return numbers if len(numbers) == 4 and min(numbers[2:]) >= 0 else None


def is_text(value: str) -> bool:
    """False for half a surrogate pair, which JSON can spell and no file name or terminal can."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
