"""Entries of annotation files that make no sense: all of them are looked for before any is an
error, so that who mends a file sees them at once."""

from __future__ import annotations

from ..errors import UserError

_LISTED = 20


class RefusedEntries(UserError):
    """Entries of a file are refused; as text, the first of them.

    Attributes:
        messages: of the first 20.
        count: of them all.
    """

    def __init__(self, messages: list[str], count: int) -> None:
        more = f" (and {count - 1} more entries: `fcos data` lists them)" if count > 1 else ""
        super().__init__(messages[0] + more)
        self.messages, self.count = messages, count


class Refusals:
    """Collects what is refused while a file is read."""

    def __init__(self) -> None:
        self._messages: list[str] = []
        self._count = 0

    def add(self, error: UserError) -> None:
        self._count += 1
        if len(self._messages) < _LISTED:
            self._messages.append(str(error))

    def check(self) -> None:
        """Raises RefusedEntries where there were any."""
        if self._count:
            raise RefusedEntries(self._messages, self._count)
