"""Values of a configuration as texts: KEY=VALUE on the command line, config.json, a line of a log.

Each is read by the parser of the options, so that names, types and errors are the same everywhere.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import json
import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

from ..configuration import DEFAULTS, NAMES, Configuration, Source, Values
from ..errors import UserError, brief
from ..recipes import RECIPES
from .shared import add_split_and_limit, add_val_fraction, add_workers
from .training import add_model, add_recipe

_OPTIONAL = ("steps", "epochs", "limit", "recipe")  # may be null in config.json


class _Parser(argparse.ArgumentParser):
    """Of the values alone, which raises its errors."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def add_pairs(options: argparse.Namespace, pairs: Sequence[str]) -> None:
    """Add values of texts KEY=VALUE to the options of a command line.

    Raises:
        UserError: as the options would; no such key; one that is given twice.
    """
    for pair in pairs:
        name = pair.partition("=")[0]
        if hasattr(options, name) and name not in NAMES:
            raise UserError(f"{name} must be given as --{name.replace('_', '-')}, got {pair}")
    values = parse_pairs(pairs)
    for name in values:
        if hasattr(options, name):
            raise UserError(f"{name} must be given once, got an option and KEY=VALUE")
        other = {"steps": "epochs", "epochs": "steps"}.get(name, "")
        if hasattr(options, other):
            raise UserError(f"argument --{name}: not allowed with argument --{other}")
    vars(options).update(values)


def parse_pairs(pairs: Sequence[str]) -> Values:
    """Values of texts KEY=VALUE. Raises: as `add_pairs`."""
    texts: dict[str, str] = {}
    for pair in pairs:
        key, found, text = pair.partition("=")
        if not found or key.startswith("-"):
            raise UserError(f"unrecognized arguments: {pair}")
        name = _known(key.replace("-", "_"), pair)
        if name in texts:
            raise UserError(f"{name} must be given once, got {name}={texts[name]} and {pair}")
        texts[name] = text
    return _parse([_option(name, text) for name, text in texts.items()])


def read_config(path: str | os.PathLike[str]) -> Values:
    """Values of a file as `Configuration` is written to config.json; any of them may be left out.

    Raises:
        FileNotFoundError: no such file.
        UserError: it is no JSON object; no such key; a value that the option would refuse.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        content = json.loads(text, object_pairs_hook=_without_repeats)
    except FileNotFoundError:
        raise FileNotFoundError(f"file of --config not found: {path}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"--config {path} must be a file of JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"--config {path} must hold a JSON object, got {brief(content)}")
    values: Values = {}
    try:
        for name, value in content.items():
            _known(name, brief(name))
            if value is None and name in _OPTIONAL:
                values[name] = None
            elif value is None or isinstance(value, dict):
                raise UserError(f"{name} must be a value, got {brief(value)}")
            else:
                # one by one, as steps and epochs exclude each other on a command line only
                values |= _parse([_option(name, to_text(value))])
    except UserError as error:
        raise UserError(f"--config {path}: {error}") from error
    return values


def _without_repeats(pairs: list[tuple[str, Any]]) -> Values:
    """A JSON object; of a key that is there twice one value would count for nothing."""
    values: Values = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(
                f"{name} must be given once, got {brief(values[name])} and {brief(value)}"
            )
        values[name] = value
    return values


def to_text(value: Any) -> str:
    """A value as it stands behind an option: 0.01, true, 2/3,8/9."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(_share(item) for item in value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def describe(
    configuration: Configuration, sources: Mapping[str, Source], files: Mapping[str, object]
) -> str:
    """All values in a line, as KEY=VALUE, by where they are from.

    files: what "file" and "stored" values were read from, where there are such.
    """
    places: dict[str, object] = {"recipe": configuration.recipe, **files}
    if configuration.recipe and configuration.batch != RECIPES[configuration.recipe]["batch"]:
        places["derived"] = f"derived, for a batch of {configuration.batch}"
    parts = []
    for source in ("given", "file", "stored", "recipe", "derived", "default"):
        own = [name for name in NAMES if sources.get(name) == source]
        texts = [
            f"{name}={to_text(value)}"
            for name in own
            if (value := getattr(configuration, name)) is not None
        ]
        if texts:
            parts.append(f"{' '.join(texts)} ({places.get(source, source)})")
    return "recipe: " + "; ".join(parts)


def _share(value: Any) -> str:
    """A number of a list: a fraction where it is one of small numbers."""
    if isinstance(value, float) and 0 < value < 1:
        fraction = Fraction(value).limit_denominator(1000)
        if float(fraction) == value:
            return str(fraction)
    return to_text(value)


def _known(name: str, shown: str) -> str:
    if name in NAMES:
        return name
    near = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.5)
    hint = f"; the nearest is {near[0]}" if near else "; see the options in --help"
    raise UserError(f"no such KEY: {shown}{hint}")


def _option(name: str, text: str) -> str:
    option = name.replace("_", "-")
    if isinstance(DEFAULTS.get(name), bool):
        if text not in ("true", "false"):
            raise UserError(f"argument --{option}: must be true or false, got {text!r}")
        return f"--{option}" if text == "true" else f"--no-{option}"
    return f"--{option}={text}"


def _parse(arguments: Sequence[str]) -> Values:
    found = vars(_parser().parse_args(arguments))
    return {name: value for name, value in found.items() if name in NAMES}


@functools.cache
def _parser() -> _Parser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    add_split_and_limit(parser, "train")
    add_val_fraction(parser, "")
    add_workers(parser)
    add_model(parser.add_argument_group())
    add_recipe(parser.add_argument_group())
    return parser
