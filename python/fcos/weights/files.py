"""Reading a file of weights, whoever wrote it, without running anything of it."""

from __future__ import annotations

import codecs
import contextlib
import os
import pickle
import re
import threading
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ..errors import UserError, brief, shorten
from ..memory import is_out_of_memory
from .pickles import Stub, StubUnpickler

_ZIP = b"PK\3\4"
_LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)  # how torch.save began its files to 1.5
_OTHER_KINDS = {
    b"version https://git-lfs": "it is a Git LFS pointer: get the file itself with `git lfs pull`",
    b"\x89PNG": "it is an image",
    b"\xff\xd8\xff": "it is an image",
    b"GIF8": "it is an image",
    b"\x1f\x8b": "it is compressed: unpack it first",
}
_MODULE = "it holds a whole module: save its weights, module.state_dict()"
# the names in a file of torch.save that holds a state_dict and plain values
_ORDINARY = re.compile(
    r"collections\.OrderedDict|torch\.\w+Storage|torch\._utils\._rebuild_(tensor_v2|parameter)"
)
_declaring = threading.Lock()


def read_weights_file(
    path: str | os.PathLike[str], kind: str = "file of weights", *, foreign: bool = True
) -> Any:
    """Read a file onto the CPU: of torch.save (zip, or legacy as up to 1.5), a pickle of numpy
    arrays as those of Caffe2, Detectron and detectron2 (of Python 2 or 3), or safetensors.

    Nothing of the file is run. Files of torch.save go through torch's own restricted unpickler
    (`weights_only`), to which a `Stub` is declared for every class and function that it does not
    know; those that are filled like mappings and lists become such. A pickle gives plain values
    and stubs, of which `unwrap` makes tensors where they are arrays. Classes that the program has
    declared itself (`torch.serialization.add_safe_globals`) are made, as everywhere in torch.

    The declaration is of the whole process until this call ends. Meanwhile `torch.load` in another
    thread may find stubs where it would have refused a file. Calls of this function wait for each
    other.

    Args:
        kind: what messages call the file.
        foreign: False: refuse all but files of torch.save with tensors and plain values.

    Raises:
        FileNotFoundError: no such file.
        UserError: not such a file; the message is one line and says what it is instead, if known.
    """
    if not os.fspath(path):  # which Path takes for the current folder
        raise UserError(f"{kind} must have a name, got an empty one")
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: not a {kind}: it is a folder")
    if not path.is_file():
        raise FileNotFoundError(f"{kind} not found: {path}")
    head = b""
    try:
        with open(path, "rb") as file:
            head = file.read(512)
            file.seek(0)
            return _read(path, file, head, foreign)
    except OSError:
        raise
    except Exception as error:  # the unpickler raises whatever foreign bytes make it stumble on
        if is_out_of_memory(error) and head.startswith((_ZIP, _LEGACY)):
            raise
        raise UserError(f"{path}: not a {kind}: {_reason(head, error)}") from error


def _read(path: Path, file: BinaryIO, head: bytes, foreign: bool) -> Any:
    if head.startswith(_ZIP):
        _check_zip(file)
    elif foreign and head[8:9] == b"{" and head[7] == 0:  # after the length of the JSON, 8 bytes
        return _read_safetensors(path)
    elif not head.startswith(_LEGACY):
        if not foreign:
            raise pickle.UnpicklingError("not of torch.save")
        return StubUnpickler(file).load()
    with _declaring:  # also where nothing is declared: another thread's stubs are not for this file
        try:
            return _load(path)
        except pickle.UnpicklingError:
            if not foreign:
                raise
        with _declared(_named_classes(file, head)):
            return _load(path)


def _load(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _check_zip(file: BinaryIO) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except zipfile.BadZipFile as error:
        raise UserError("it is cut short or damaged") from error
    if "constants.pkl" in names:
        raise UserError("it is a TorchScript archive: save its weights, module.state_dict()")
    if "data.pkl" not in names:
        raise UserError("it is a zip archive of other things")


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError("it is of safetensors: pip install safetensors") from error
    return load_file(path)


def _named_classes(file: BinaryIO, head: bytes) -> dict[str, type[Stub]]:
    """What a file of torch.save names besides tensors, as a dry run with stubs alone found it.

    Where the dry run stumbles there is nothing to declare, and torch has the word.
    """
    file.seek(0)
    with contextlib.suppress(Exception):
        if head.startswith(_ZIP):
            with zipfile.ZipFile(file) as archive:
                (name,) = (n for n in archive.namelist() if n.endswith("/data.pkl"))
                with archive.open(name) as record:
                    unpickler = StubUnpickler(record)
                    unpickler.load()
        else:
            for _ in range(4):  # the magic number, the format, the writer's machine, the content
                unpickler = StubUnpickler(file)
                unpickler.load()
        return {n: stub for n, stub in unpickler.stubs.items() if not _ORDINARY.fullmatch(n)}
    return {}


def _declared(stubs: dict[str, type[Stub]]) -> contextlib.AbstractContextManager[object]:
    """Torch's unpickler takes these for what the names mean, but for what the program declared."""
    known = {
        entry[1] if isinstance(entry, tuple) else f"{entry.__module__}.{entry.__qualname__}"
        for entry in torch.serialization.get_safe_globals()
    }
    classes: list[Any] = [
        (stub if stub.container is None else _class_making(stub.container), name)
        for name, stub in stubs.items()
        if name not in known
    ]
    return torch.serialization.safe_globals(classes)


def _class_making(container: type) -> type:
    """That unpickler fills nothing but real lists and mappings."""
    return type("Container", (), {"__new__": lambda cls, *_, **__: container()})


def _reason(head: bytes, error: Exception) -> str:
    """What the file is instead, for a message."""
    if isinstance(error, UserError):
        return str(error)
    if not head:
        return "it is empty"
    for start, reason in _OTHER_KINDS.items():
        if head.startswith(start):
            return reason
    if (text := _as_text(head)) is not None:
        return f"it is a text, {brief(text, 20)}"
    if blocked := re.search(r"GLOBAL (\S+) whose module", str(error)):
        return f"it asks for {shorten(blocked[1], 60)}, which is not given to files"
    if "persistent_load of storage" in str(error):
        return _MODULE
    if "Unsupported global" in str(error):
        return "it holds other things than tensors and plain values"
    return "it is damaged or of another kind"


def _as_text(head: bytes) -> str | None:
    """The first bytes of a file as a text, if they are one; the last character may be cut."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return None
    return text if all(c.isprintable() or c.isspace() for c in text) else None
