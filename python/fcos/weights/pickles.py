"""Pickles of other people, read without running anything that they name.

A pickle is a program: it names functions and has them called. Here every name stands for a class
made for the purpose, which keeps what it is given and does nothing.
"""

from __future__ import annotations

import codecs
import pickle
from collections import OrderedDict
from typing import IO, Any, ClassVar

import torch
from torch import Tensor

# what numpy calls the dtypes that weights can have
_DTYPES = frozenset("b1 i1 i2 i4 i8 u1 f2 f4 f8".split())
# modules that Python 3 renamed; Python 3 writes the old names, too, in protocols 0 to 2
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class Stub:
    """Stands for an instance of a class, or what a function returned; neither is run.

    Attributes:
        path: "module.name" of the class or function.
        container: what an instance was filled like: OrderedDict, list or None.
        arguments: it was called with.
        state: it was given to restore.
    """

    path: ClassVar[str]
    container: ClassVar[type | None] = None
    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any, **_: Any) -> Stub:
        stub = super().__new__(cls)
        stub.arguments = arguments
        stub.state = None
        return stub

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        type(self).container = OrderedDict

    def append(self, value: Any) -> None:
        type(self).container = list

    add = append

    def __repr__(self) -> str:
        return f"<{self.path}, not loaded>"


class StubUnpickler(pickle._Unpickler):
    """Reads a pickle of any protocol and of Python 2 or 3; see `Stub`.

    In Python, where what it remembers is a dictionary: the one in C has a table up to the largest
    number that a pickle names, and nine bytes take 60 GB.

    Attributes:
        stubs: a class for each "module.name" that the pickle names.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="latin1")
        self.stubs: dict[str, type[Stub]] = {}

    def find_class(self, module: str, name: str) -> type[Stub]:
        path = f"{_RENAMED.get(module, module)}.{name}"
        if path not in self.stubs:
            self.stubs[path] = type("Stub", (Stub,), {"path": path})
        return self.stubs[path]

    def persistent_load(self, key: Any) -> Any:
        """In place of a storage of torch, or the source code of a module: its class."""
        return key[1]


def to_tensor(value: object) -> Tensor | None:
    """The tensor that a numpy array in a pickle is; None where `value` is no array of numbers."""
    import numpy as np  # here, so that the command line can say that it is missing

    try:
        if isinstance(value, np.ndarray):
            return torch.tensor(value)
        return _array(value) if isinstance(value, Stub) else None
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError):
        return None


def _array(stub: Stub) -> Tensor | None:
    import numpy as np

    function = stub.path.rpartition(".")[2]
    if not stub.path.startswith("numpy."):
        return None
    if function == "_reconstruct":  # protocols 0 to 4
        _, shape, dtype, by_columns, content = stub.state
    elif function == "_frombuffer":  # protocol 5
        content, dtype, shape, order = stub.arguments
        by_columns = order == "F"
    else:
        return None
    code, byte_order = dtype.arguments[0], dtype.state[1]
    if dtype.path != "numpy.dtype" or code not in _DTYPES:
        return None
    array = np.frombuffer(_bytes(content), np.dtype(code).newbyteorder(byte_order))
    array = array.reshape(shape, order="F" if by_columns else "C")
    return torch.tensor(array.astype(code))


def _bytes(content: Any) -> bytes:
    """The bytes of an array; protocol 2 has none, and spells them as a text."""
    if isinstance(content, Stub):
        if content.path == "builtins.bytes" and not content.arguments:
            return b""
        if content.path != "_codecs.encode":
            raise TypeError("no bytes")
        content = content.arguments[0]
    return codecs.latin_1_encode(content)[0] if isinstance(content, str) else bytes(content)
