"""Files of weights: every kind that can be read, and what is said of those that cannot."""

from __future__ import annotations

import argparse
import builtins
import collections
import io
import json
import os
import pickle
import sys
import threading
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fcos.errors import UserError
from fcos.weights import read_weights_file, unwrap
from fcos.weights.pickles import Stub, to_tensor

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.0, -2.0])}
BOTH_FORMATS = pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])


def _save(path: Path, content: Any, is_zip: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    return path


def _is_state(found: Any) -> bool:
    return list(found) == list(STATE) and all(torch.equal(found[k], STATE[k]) for k in STATE)


def _foreign_module(monkeypatch: pytest.MonkeyPatch, name: str, *classes: type) -> None:
    """Classes in a module that is only there while a file is written."""
    module = types.ModuleType(name)
    for cls in classes:
        cls.__module__, cls.__qualname__ = name, cls.__name__
        setattr(module, cls.__name__, cls)
    monkeypatch.setitem(sys.modules, name, module)


@BOTH_FORMATS
def test_plain_files_need_no_declaration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_zip: bool
) -> None:
    path = _save(tmp_path / "a.pth", collections.OrderedDict(STATE), is_zip)
    monkeypatch.delattr(torch.serialization, "safe_globals")
    assert _is_state(read_weights_file(path))


@BOTH_FORMATS
def test_foreign_objects_become_stubs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_zip: bool
) -> None:
    """As in files of fcos_core (yacs), torchvision's references (argparse) and mmdetection."""

    class CfgNode(dict):  # type: ignore[type-arg]
        pass

    class Names(list):  # type: ignore[type-arg]
        pass

    class Buffer:
        def __getstate__(self) -> tuple[int, int]:
            return 3, 4

        def __setstate__(self, state: Any) -> None:
            raise AssertionError("it was run")

    _foreign_module(monkeypatch, "somebody_config", CfgNode, Names, Buffer)
    node = CfgNode(a=CfgNode(b=1))
    node.is_frozen = True  # type: ignore[attr-defined]
    content = {
        "meta": {"cfg": node, "names": Names(["x", "y"]), "buffer": Buffer()},
        "args": argparse.Namespace(lr=0.1),
        "counts": collections.defaultdict(list, {"c": [1]}),
        "queue": collections.deque([1, 2], maxlen=5),
        "best": np.float64(0.5),
        "array": np.arange(3, dtype=np.float32),
        "path": Path("a"),
        "bound": {}.get,
        "state_dict": STATE,
    }
    path = _save(tmp_path / "a.pth", content, is_zip)
    monkeypatch.delitem(sys.modules, "somebody_config")
    before = set(torch.serialization.get_safe_globals())
    found = read_weights_file(path)
    assert set(torch.serialization.get_safe_globals()) == before
    assert _is_state(found["state_dict"]) and _is_state(unwrap(found))
    assert found["meta"]["cfg"] == {"a": {"b": 1}} and found["meta"]["names"] == ["x", "y"]
    assert found["meta"]["buffer"].path == "somebody_config.Buffer"
    assert found["meta"]["buffer"].state == (3, 4)
    assert found["args"].path == "argparse.Namespace" and found["args"].state == {"lr": 0.1}
    assert found["counts"] == {"c": [1]} and found["queue"] == [1, 2]
    assert all(isinstance(found[name], Stub) for name in ("best", "path", "bound"))
    array = to_tensor(found["array"])
    assert array is not None and torch.equal(array, torch.arange(3.0))


def test_classes_that_the_program_declared_are_made(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.pth", {**STATE, "args": argparse.Namespace(lr=0.1)})
    with torch.serialization.safe_globals([argparse.Namespace]):
        assert read_weights_file(path)["args"] == argparse.Namespace(lr=0.1)
        assert argparse.Namespace in torch.serialization.get_safe_globals()
    assert isinstance(read_weights_file(path)["args"], Stub)


def test_threads_wait_for_each_other(tmp_path: Path) -> None:
    """Each declares names of its own, for the whole process."""
    paths = []
    for number, value in enumerate([argparse.Namespace(a=1), Path("a"), np.float64(1)] * 2):
        paths.append(_save(tmp_path / f"{number}.pth", {"state_dict": STATE, "x": value}))
    before, failures = torch.serialization.get_safe_globals(), []

    def read(path: Path) -> None:
        for _ in range(20):
            try:
                assert isinstance(read_weights_file(path)["x"], Stub)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=read, args=[path]) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and set(torch.serialization.get_safe_globals()) == set(before)


@pytest.mark.parametrize("protocol", range(6))
def test_pickled_arrays_become_tensors(tmp_path: Path, protocol: int) -> None:
    generator = np.random.default_rng(0)
    arrays = {
        "float32": generator.random((2, 3, 4)).astype(np.float32),
        "by columns": np.asfortranarray(generator.random((2, 3))),
        "big-endian": generator.random(3).astype(">f4"),
        "half": generator.random(3).astype(np.float16),
        "count": np.array(7),
        "empty": np.zeros((0, 3), np.float32),
        "slice": generator.random(8)[::2],
        "mask": np.array([True, False]),
    }
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"blobs": arrays}, protocol))
    found = unwrap(read_weights_file(tmp_path / "a.pkl"))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        native = array.astype(array.dtype.newbyteorder("="))
        assert found[name].numpy().dtype == native.dtype and found[name].shape == array.shape
        assert np.array_equal(found[name].numpy(), native)
        found[name].zero_()  # it may be written to


def test_a_pickle_of_python_2(tmp_path: Path) -> None:
    """As Caffe2's are: its strings are bytes, those of the array among them. Written by hand."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tU\1btR(K\1(K\2tcnumpy\ndtype\n"
        b"(U\2f4K\0K\1tR(K\3U\1<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89U\x08"
        + np.array([1.5, -2.0], "<f4").tobytes()
        + b"tb"
    )
    (tmp_path / "a.pkl").write_bytes(b"\x80\2}(U\7conv1_w" + array + b"u.")
    found = unwrap(read_weights_file(tmp_path / "a.pkl"))
    assert found["conv1_w"].tolist() == [1.5, -2.0]


def test_safetensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read by their package, of which a stand-in is enough here: it need not be installed."""
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "a.bin"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    package = types.ModuleType("safetensors.torch")
    package.load_file = lambda name: {"a": torch.zeros(1), "name": name}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "safetensors", types.ModuleType("safetensors"))
    monkeypatch.setitem(sys.modules, "safetensors.torch", package)
    assert read_weights_file(path)["name"] == path
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="a.bin: not a file of weights: .*pip install safetensors$"):
        read_weights_file(path)
    with pytest.raises(UserError, match="not a file of weights: it is damaged"):
        read_weights_file(path, foreign=False)


def _bytes_of(content: Any, is_zip: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=is_zip)
    return buffer.getvalue()


def _scripted() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), buffer)
    return buffer.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
NO_WEIGHTS = {
    "empty": (b"", "it is empty"),
    "text": (b"# Weights\nare elsewhere", "it is a text, '# Weights\\nare else..."),
    "html": (b"<!DOCTYPE html><html>", "it is a text, '<!DOCTYPE html><htm"),
    "json": (b'{"message": "not found"}', 'it is a text, \'{"message": '),
    "cut umlaut": (b"a" * 511 + "\N{LATIN SMALL LETTER A WITH DIAERESIS}".encode(), "it is a text"),
    "lfs": (LFS, "it is a Git LFS pointer: get the file itself with `git lfs pull`"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(20), "it is an image"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(20), "it is an image"),
    "gzip": (b"\x1f\x8b\x08" + bytes(20), "it is compressed"),
    "noise": (bytes(range(128, 256)) * 3, "it is damaged or of another kind"),
    "other zip": (b"PK\5\6" + bytes(18), "it is damaged or of another kind"),
    "short zip": (_bytes_of(STATE, True)[:-200], "it is cut short or damaged"),
    "half a zip": (_bytes_of(STATE, True)[:300], "it is cut short or damaged"),
    "short legacy": (_bytes_of(STATE, False)[:-5], "it is damaged or of another kind"),
    "legacy head": (_bytes_of(STATE, False)[:40], "it is damaged or of another kind"),
    "short pickle": (pickle.dumps({"a": np.zeros(9)})[:-9], "it is damaged or of another kind"),
    "huge text": (b"\x80\4\x8d" + (1 << 62).to_bytes(8, "little"), "it is damaged"),
    "huge array": (b"\x80\5\x96" + (1 << 62).to_bytes(8, "little"), "it is damaged"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", NO_WEIGHTS)
def test_what_is_no_file_of_weights_is_named(tmp_path: Path, name: str) -> None:
    content, reason = NO_WEIGHTS[name]
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_weights_file(path, "file of backbone weights")
    message = str(caught.value)
    start = f"{path}: not a file of backbone weights: "
    assert message.startswith(start) and "\n" not in message and len(message) < len(start) + 100
    assert message.removeprefix(start).startswith(reason)


def test_torchscript_other_archives_and_folders_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(_scripted())
    with pytest.raises(UserError, match="it is a TorchScript archive: save its weights"):
        read_weights_file(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(UserError, match="it is a zip archive of other things$"):
        read_weights_file(path)
    with pytest.raises(UserError, match="not a file of weights: it is a folder$"):
        read_weights_file(tmp_path)
    with pytest.raises(FileNotFoundError, match="^checkpoint not found: .*none.pth$"):
        read_weights_file(tmp_path / "none.pth", "checkpoint")


@pytest.mark.filterwarnings("error")
@BOTH_FORMATS
def test_a_module_is_no_state_dict(tmp_path: Path, is_zip: bool) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    path = tmp_path / "a.pth"
    for content in (module, {"model": module, "epoch": 3}):
        _save(path, content, is_zip)
        with pytest.raises(UserError, match=r"a.pth.* a whole module.*state_dict\(\)") as caught:
            unwrap(read_weights_file(path), path)
        assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("error")
@BOTH_FORMATS
def test_own_checkpoints_hold_no_foreign_objects(tmp_path: Path, is_zip: bool) -> None:
    path = _save(tmp_path / "a.pth", {"args": argparse.Namespace()}, is_zip)
    with pytest.raises(UserError, match="other things than tensors and plain values$"):
        read_weights_file(path, foreign=False)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": np.zeros(1)}))
    with pytest.raises(UserError, match="it is damaged or of another kind$"):
        read_weights_file(tmp_path / "a.pkl", foreign=False)


def test_errors_of_the_disk_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _save(tmp_path / "a.pth", STATE)

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied", os.fspath(path))

    monkeypatch.setattr(builtins, "open", refuse)
    with pytest.raises(PermissionError):
        read_weights_file(path)


def test_archives_without_checksums_are_read(tmp_path: Path) -> None:
    """Torch can write them so; Python's zipfile takes them for damaged."""
    from torch.serialization import set_crc32_options

    set_crc32_options(False)
    try:
        path = _save(tmp_path / "a.pth", STATE)
    finally:
        set_crc32_options(True)
    assert _is_state(read_weights_file(path))
