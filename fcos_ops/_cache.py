"""Results of functions of immutable arguments, kept."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch

_Function = TypeVar("_Function", bound=Callable[..., Any])


def cached_by_identity(function: _Function) -> _Function:
    """Decorates a function of a tuple (a pyramid, a rule), which should not change what it returns:
    results for the last tuples are kept.

    A tuple is known by its identity: hashing it would cost more, and 1, 1.0 and True hash alike.
    """
    kept: dict[int, tuple[Any, Any]] = {}

    @wraps(function)
    def wrapper(argument: Any) -> Any:
        if torch.compiler.is_dynamo_compiling() or not isinstance(argument, tuple):
            return function(argument)
        entry = kept.get(id(argument))
        if entry is None:
            if len(kept) >= 64:
                kept.clear()
            entry = kept[id(argument)] = argument, function(argument)
        return entry[1]

    return wrapper  # type: ignore[return-value]
