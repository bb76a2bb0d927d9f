"""Reading mmdetection's config out of a file of weights, where it is Python source, without running
any of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import UserError, brief

_MAX_TEXT = 1_000_000  # characters; the published configs have under 20,000


def read_config(meta: Mapping[str, Any]) -> dict[str, Any] | None:
    """The config that was stored with the weights, as plain dictionaries; None: there is none that
    can be read, or a text whose parts inherit from one another."""
    config = meta.get("cfg") or meta.get("config")
    if isinstance(config, str):
        config = _parsed(config)
    return config if isinstance(config, dict) and isinstance(config.get("model"), dict) else None


def setting(config: Mapping[str, Any], path: str, default: Any = None) -> Any:
    """The value at "model.neck.type" or the like; the default where part of the way is missing."""
    value: Any = config
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return default
        value = value[name]
    return value


def number(
    config: Mapping[str, Any], path: str, default: float, least: float, most: float
) -> float:
    """UserError where another kind of value is there or one outside of the limits."""
    value = setting(config, path, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise UserError(
            f"{path} of the config must be a number from {least} to {most}, got {brief(value)}"
        )
    return value


def choice(config: Mapping[str, Any], path: str, known: tuple[Any, ...], default: Any) -> Any:
    """UserError where another value is there: it is not implemented."""
    value = setting(config, path, default)
    value = list(value) if isinstance(value, tuple) else value
    if (type(value), value) not in [(type(one), one) for one in known]:  # 0 is not False
        expected = " or ".join(map(repr, known))
        raise UserError(f"{path} of the config must be {expected}, got {brief(value)}")
    return value


def steps(pipeline: Any, depth: int = 3) -> Iterator[dict[str, Any]]:
    """The steps of a pipeline and those inside of its steps."""
    for step in pipeline if isinstance(pipeline, list | tuple) else ():
        if isinstance(step, dict):
            yield step
            if depth:
                yield from steps(step.get("transforms"), depth - 1)


def _parsed(text: str) -> dict[str, Any] | None:
    """The variables that the text assigns, of those that are plain values."""
    if len(text) > _MAX_TEXT:
        return None
    # early versions put the path of each source file on a line of its own
    text = "\n".join(line for line in text.split("\n") if not re.fullmatch(r"\S+\.py", line))
    found: dict[str, Any] = {}
    try:
        for statement in ast.parse(text).body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                name = statement.targets[0].id
                if name in found or name == "_base_":
                    return None
                found[name] = _value(statement.value, found)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    return found


def _value(node: ast.expr, known: Mapping[str, Any]) -> Any:
    """A plain value, a list, tuple, dict or call of dict of them, or a variable seen before; None
    for whatever else."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _value(node.operand, known)
        return -value if isinstance(value, int | float) else None
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(element, known) for element in node.elts]
    if isinstance(node, ast.Dict):
        pairs = [
            (None if key is None else _value(key, known), _value(value, known))
            for key, value in zip(node.keys, node.values, strict=True)
        ]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        pairs = [(keyword.arg, _value(keyword.value, known)) for keyword in node.keywords]
    else:
        return None
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key is None and isinstance(value, dict):  # **value
            found.update(value)
        elif isinstance(key, str):
            found[key] = value
    return found
