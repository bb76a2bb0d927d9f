"""Files of weights that were made to run something: it does not run.

The payloads touch a file, whose absence is the proof. What comes back is a stub or one line.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fcos.errors import UserError
from fcos.weights import read_weights_file, unwrap
from fcos.weights.files import _LEGACY


class Call:
    """Pickled as a call of a function, which unpickling makes."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


def _text(value: str) -> bytes:
    """The opcode that pushes a text."""
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def _by_opcode(path: Path) -> dict[str, bytes]:
    """Ways to name and call a function that `pickle.dumps` does not write, and hooks of classes."""
    name = _text(str(path))
    mode = _text("w")
    return {
        "INST": b"(" + name + mode + b"ibuiltins\nopen\n.",
        "OBJ": b"(cbuiltins\nopen\n" + name + mode + b"o.",
        "NEWOBJ": b"\x80\2cio\nFileIO\n" + name + mode + b"\x86\x81.",
        "NEWOBJ_EX": b"\x80\4cio\nFileIO\n" + name + b"\x85}" + mode[:0] + b"\x92.",
        "STACK_GLOBAL": b"\x80\4" + _text("io") + _text("open") + b"\x93" + name + mode + b"\x86R.",
        "dotted": b"\x80\4" + _text("os") + _text("path.os.mkdir") + b"\x93" + name + b"\x85R.",
        "attribute": b"\x80\2cbuiltins\ngetattr\ncpathlib\nPosixPath\n" + _text("touch") + b"\x86R"
        b"cpathlib\nPosixPath\n" + name + b"\x85R\x85R.",
        "state of a class": b"\x80\2ccollections\nOrderedDict\n}" + _text("__init__")
        + b"cbuiltins\nopen\nsb)R.",
        "state of a stub": b"\x80\2cargparse\nNamespace\n)\x81}" + _text("__setstate__")
        + b"cos\nmkdir\nsb" + name + b"b.",
        "state of a stub class": b"\x80\2cargparse\nNamespace\nN}" + _text("__new__")
        + b"cbuiltins\nopen\ns\x86b" + name + b"\x85R.",
        "items of a stub class": b"\x80\2cargparse\nNamespace\n" + _text("__new__")
        + b"cbuiltins\nopen\ns.",
        "hooked tensor": b"\x80\2ctorch._tensor\n_rebuild_from_type_v2\n(cbuiltins\nopen\n"
        b"ctorch\nTensor\n(" + name + mode + b"t}tR.",
        "numpy's": b"\x80\2cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0U\1bt"
        b"R(K\1K\1\x85cbuiltins\nopen\n" + name + mode + b"\x86R\x89U\4abcdtb.",
    }  # fmt: skip


def _calls(path: Path) -> dict[str, Any]:
    command = f"touch {path}"
    array = np.arange(2, dtype=np.float32)
    return {
        "os.system": Call(os.system, command),
        "subprocess": Call(subprocess.Popen, ["touch", str(path)]),
        "exec": Call(builtins.exec, f"open({str(path)!r}, 'w')"),
        "eval": Call(builtins.eval, f"open({str(path)!r}, 'w')"),
        "open": Call(open, str(path), "w"),
        "import": Call(builtins.__import__, "antigravity"),
        "load": Call(torch.load, str(path)),
        "nested": {"state_dict": {"a": [(Call(open, str(path), "w"),)], "b": array}},
        "argument": Call(print, Call(open, str(path), "w")),
        "key": {Call(open, str(path), "w"): 1},
    }


def _as_pickle(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _as_zip(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", sys.byteorder)


def _as_legacy(path: Path, content: bytes) -> None:
    head = [pickle.dumps(value, 2) for value in (1001, {"little_endian": True})]
    path.write_bytes(_LEGACY + b"".join(head) + content + pickle.dumps([], 2))


FORMATS = {"pickle": _as_pickle, "zip": _as_zip, "legacy": _as_legacy}


@pytest.mark.parametrize("how", FORMATS)
@pytest.mark.parametrize("name", [*_calls(Path("a")), *_by_opcode(Path("a"))])
def test_nothing_is_run(tmp_path: Path, how: str, name: str) -> None:
    touched, path = tmp_path / "touched", tmp_path / "a.pkl"
    calls = _calls(touched)
    content = pickle.dumps(calls[name], 2) if name in calls else _by_opcode(touched)[name]
    write: Callable[[Path, bytes], None] = FORMATS[how]
    write(path, content)
    modules = set(sys.modules)
    try:
        found: Any = read_weights_file(path)
        unwrap(found, path)
    except UserError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        raise AssertionError(f"taken for weights: {found!r}")
    assert not touched.exists() and "antigravity" not in set(sys.modules) - modules


def test_what_runs_programs_is_named(tmp_path: Path) -> None:
    _as_zip(tmp_path / "a.pth", pickle.dumps(Call(os.system, "true"), 2))
    with pytest.raises(UserError, match=f"it asks for {os.name}.system, which is not given to"):
        read_weights_file(tmp_path / "a.pth")


EFFECTIVE = ["open", "exec", "eval", "nested", "argument", "INST", "OBJ", "STACK_GLOBAL", "dotted"]
EFFECTIVE += ["attribute", "state of a stub", "hooked tensor", "numpy's"]


@pytest.mark.parametrize("name", EFFECTIVE)
def test_the_payloads_work_where_they_are_run(tmp_path: Path, name: str) -> None:
    """Or the tests above would prove nothing."""
    touched = tmp_path / "touched"
    calls = _calls(touched)
    content = pickle.dumps(calls[name], 2) if name in calls else _by_opcode(touched)[name]
    with contextlib.suppress(Exception):  # after the deed
        pickle.loads(content)
    assert touched.exists()


@pytest.mark.parametrize("how", FORMATS)
def test_deep_and_circular_contents(tmp_path: Path, how: str) -> None:
    circular: dict[str, Any] = {}
    circular["model"] = circular
    contents = [pickle.dumps(circular, 2), b"\x80\2" + b"]" * 100_000 + b"a" * 99_999 + b"."]
    for content in contents:
        FORMATS[how](tmp_path / "a.pkl", content)
        with pytest.raises(UserError, match="must hold"):
            unwrap(read_weights_file(tmp_path / "a.pkl"))
