"""Arguments of torch's schema language, made from the fields of a rule."""

from typing import Any, get_type_hints

_TYPES: dict[Any, str] = {bool: "bool", int: "int", int | None: "int?", float: "float", str: "str"}


def arguments(rule: type[Any], names: tuple[str, ...] | None = None) -> str:
    """The fields of a NamedTuple, or those of them that are named, as "float alpha, int k"."""
    hints = get_type_hints(rule)
    return ", ".join(f"{_TYPES[hints[name]]} {name}" for name in names or rule._fields)
