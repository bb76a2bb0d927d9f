"""Arguments of torch's schema language, made from the fields of a rule."""

from typing import Any, get_type_hints

_TYPES: dict[Any, str] = {bool: "bool", int: "int", int | None: "int?", float: "float", str: "str"}


def types(rule: type[Any]) -> dict[str, str]:
    """The types of the fields of a NamedTuple; of those that no op takes, none."""
    hints = get_type_hints(rule)
    return {name: _TYPES[hint] for name, hint in hints.items() if hint in _TYPES}


def arguments(rule: type[Any], names: tuple[str, ...] | None = None) -> str:
    """The fields of a NamedTuple, or those of them that are named, as "float alpha, int k"."""
    of_fields = types(rule)
    return ", ".join(f"{of_fields[name]} {name}" for name in names or rule._fields)
