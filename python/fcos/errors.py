"""What goes wrong for a reason that the user of a command can change, shown in one line."""

from __future__ import annotations


class UserError(ValueError):
    """An option, a file or a data set is not as it must be; the message says which.

    Any other ValueError is a fault of the program: the command line shows its traceback.
    """


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to try."""
