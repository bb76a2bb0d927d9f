"""What goes wrong for a reason that the user of a command can change, shown in one line."""

from __future__ import annotations

from collections.abc import Collection


class UserError(ValueError):
    """An option, a file or a data set is not as it must be; the message says which.

    Any other ValueError is a fault of the program: the command line shows its traceback.
    """


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to try."""


def brief(value: object, limit: int = 60) -> str:
    """`value` for a message: the first characters of its repr."""
    return shorten(repr(value), limit)


def shorten(text: str, limit: int = 300) -> str:
    """The first characters of a text that comes from a file, and may be of any length."""
    return text if len(text) <= limit else text[:limit] + "..."


def a_few(names: Collection[object], limit: int = 3) -> str:
    """The first of `names` for a message, and how many more there are."""
    shown = ", ".join(brief(name) for name in list(names)[:limit])
    more = len(names) - limit
    return f"{shown} and {more} more" if more > 0 else shown
