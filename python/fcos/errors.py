"""What goes wrong for a reason that the user of a command can change."""

from __future__ import annotations


class UserError(ValueError):
    """An option, a file or a data set is not as it must be; the message says which and what to do.

    The command line shows such an error in one line, and every other ValueError, which would be a
    fault of the program, with its traceback.
    """
