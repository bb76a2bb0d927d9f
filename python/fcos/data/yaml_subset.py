"""As much of YAML as data.yaml files of YOLO have: keys with text, a list or a map of text.

Text stays text: a class called `no` or `1` keeps its name.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import UserError, brief

Value = str | list[str] | dict[str, str]

_KEY = re.compile(r"""(?P<key>"[^"]*"|'[^']*'|[^\s"'\[\]{},#:][^:]*?)\s*:(?:\s+(?P<value>.*))?$""")
_TOKEN = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^,]*?)\s*(?:,|$)""")


def read_yaml(path: Path) -> dict[str, Value]:
    """The top-level keys of a file; values of other kinds than these are left out.

    Raises:
        UserError: a line that is not understood; the message has its number.
    """
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    lines = [(n, _uncommented(line)) for n, line in enumerate(text.splitlines(), start=1)]
    lines = [(n, line) for n, line in lines if line.strip() not in ("", "---", "...")]
    content: dict[str, Value] = {}
    position = 0
    while position < len(lines):
        number, line = lines[position]
        key, value = _pair(path, number, line)
        position += 1
        block = []
        while position < len(lines) and lines[position][1].startswith((" ", "\t", "-", "]", "}")):
            block.append(lines[position])
            position += 1
        if value[:1] in ("[", "{"):
            whole = " ".join([value, *(line.strip() for _, line in block)])
            if whole[-1:] != {"[": "]", "{": "}"}[value[0]]:
                raise UserError(
                    f"{path}:{number}: {key} must end with a bracket, got {brief(whole)}"
                )
            content[key] = _flow(whole)
        elif value:
            if value[0] not in "|>&*!":  # a text of many lines, such as a script for downloads
                content[key] = _plain(value)
        elif block:
            content[key] = _block(path, block)
    return content


def _uncommented(line: str) -> str:
    quote = ""
    for position, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "#" and (position == 0 or line[position - 1].isspace()):
            return line[:position]
    return line


def _flow(text: str) -> list[str] | dict[str, str]:
    inner, items = text[1:-1].strip(), []
    position = 0
    while position < len(inner):
        token = _TOKEN.match(inner, position)
        assert token is not None  # it matches any text up to a comma
        items.append(token[1])
        position = token.end()
    if text[0] == "[":
        return [_plain(item) for item in items]
    pairs = (_KEY.match(item.replace(":", ": ", 1)) for item in items)
    return {_plain(pair["key"]): _plain(pair["value"] or "") for pair in pairs if pair}


def _block(path: Path, lines: list[tuple[int, str]]) -> list[str] | dict[str, str]:
    """Lines of a list or a map; deeper ones are left out."""
    indent = _indent(lines[0][1])
    own = [(number, line.strip()) for number, line in lines if _indent(line) == indent]
    if own[0][1].startswith("-"):
        for number, line in own:
            if not line.startswith("-"):
                raise UserError(f"{path}:{number} must be a line `- value`, got {brief(line)}")
        return [_plain(line[1:].strip()) for _, line in own]
    pairs = (_pair(path, number, line) for number, line in own)
    return {key: _plain(value) for key, value in pairs}


def _pair(path: Path, number: int, line: str) -> tuple[str, str]:
    """Key, without quotes, and value of a line."""
    found = _KEY.match(line)
    if found is None:
        raise UserError(f"{path}:{number} must be a line `key: value`, got {brief(line)}")
    return _plain(found["key"]), (found["value"] or "").strip()


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _plain(text: str) -> str:
    """Without quotes."""
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return text
