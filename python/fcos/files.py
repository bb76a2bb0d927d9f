"""Files that are either there whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .errors import UserError


@contextlib.contextmanager
def _naming(path: str | os.PathLike[str], temporary: Path | None = None) -> Iterator[None]:
    """An OSError names `path` instead of the temporary file or, as a full disk does, nothing."""
    try:
        yield
    except OSError as error:
        of_another_file = temporary is not None and error.filename not in (None, str(temporary))
        if error.errno is None or of_another_file:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes that name if the block ends without error.

    A link stays: the file that it leads to is written.

    Raises:
        UserError: a folder, a device or the like has that name.
    """
    check_replaceable(path)
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path):
        handle, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.stem[:40]}.", suffix=target.suffix
        )
    os.close(handle)
    temporary = Path(name)
    try:
        with _naming(path, temporary):
            yield temporary
            # mkstemp's file is private to its owner; give it the mode of an ordinary new file
            mask = os.umask(0)
            os.umask(mask)
            temporary.chmod(0o666 & ~mask)
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


@contextlib.contextmanager
def json_list(path: str | os.PathLike[str]) -> Iterator[Callable[[Any], None]]:
    """Yield a function that appends an item to a JSON list, which has a line for each.

    The file is there when the block ends, even by an error, with the items up to there.
    """
    ended_by: BaseException | None = None
    with atomic_path(path) as temporary:
        with temporary.open("w", encoding="utf-8") as file:
            begin = "["

            def append(item: Any) -> None:
                nonlocal begin
                file.write(begin + json.dumps(item))
                begin = ",\n"

            try:
                yield append
            except BaseException as error:  # raised again, once the file is there
                ended_by = error
            file.write("[]" if begin == "[" else "]")
    if ended_by is not None:
        raise ended_by


def check_replaceable(path: str | os.PathLike[str]) -> None:
    """UserError where something has that name that is not an ordinary file."""
    if os.path.exists(path) and not os.path.isfile(path):
        kind = "a folder" if os.path.isdir(path) else "a device, a pipe or the like"
        raise UserError(f"{path} must be an ordinary file, got {kind}")


def check_new(*paths: str | os.PathLike[str], overwrite: bool) -> None:
    """UserError where one of these files exists and may not be replaced, or is no ordinary file."""
    for path in paths:
        check_replaceable(path)
        if os.path.exists(path) and not overwrite:
            raise UserError(f"{path} exists: add --overwrite or write elsewhere")


def check_there(path: str | os.PathLike[str], kind: str) -> None:
    """FileNotFoundError where nothing or a folder has that name; `kind` says what it should be."""
    if not os.path.exists(path) or os.path.isdir(path):
        raise FileNotFoundError(f"{kind} not found: {path}")


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Make a folder if need be and a file in it: an OSError now, not after hours of work."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with _naming(folder):
        tempfile.TemporaryFile(dir=folder).close()


def save_torch_file(path: str | os.PathLike[str], content: Any) -> None:
    """Write a file of torch.save atomically.

    Raises:
        OSError: it cannot be written; the old file, if there was one, is still there.
    """
    import torch  # here, so that the others need none

    with atomic_path(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # what torch's writer makes of a full disk
            reason = str(error).splitlines()[0]
            raise OSError(f"cannot write {path}: is the disk full? ({reason})") from error
