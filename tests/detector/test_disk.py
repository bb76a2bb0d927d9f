"""A disk that is full or read-only: one line, and what was there stays there."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from fcos.cli import main
from fcos.errors import UserError
from fcos.files import atomic_path, check_writable, save_torch_file

from .helpers import SMALL
from .processes import run


def _train(data: Path, output: Path, *more: str) -> list[str]:
    return ["train", "--data", str(data), "--output", str(output), *SMALL, *more]


@pytest.fixture
def weights(data: Path) -> Path:
    assert main(_train(data, data / "run", "--steps", "2")) == 0
    return data / "run" / "last.pth"


def _commands(data: Path, weights: Path, output: Path) -> dict[str, list[str]]:
    common = ["--weights", str(weights), "--device", "cpu"]
    evaluation = ["eval", "--data", str(data), "--split", "train", *common]
    return {
        "train": _train(data, output),
        "detect": ["detect", str(data / "train"), *common, "--output", str(output)],
        "eval": [*evaluation, "--output", str(output / "results.json")],
        "draw": [*evaluation, "--draw", str(output)],
    }


def test_a_full_disk_keeps_the_last_checkpoint(data: Path, weights: Path, tmp_path: Path) -> None:
    before = weights.read_bytes()
    arguments = _train(data, weights.parent, "--resume", "--steps", "4")
    status, printed = run(arguments, tmp_path / "log", largest_file=len(before) // 2)
    assert status == 2 and "Traceback" not in printed
    assert printed.splitlines()[-1].startswith(f"fcos: error: cannot write {weights}: is the disk")
    assert weights.read_bytes() == before
    files = ["config.json", "first_batch.png", "last.pth", "metrics.csv", "metrics.jsonl"]
    assert sorted(p.name for p in weights.parent.iterdir()) == files
    assert run(arguments, tmp_path / "log")[0] == 0


def test_a_full_disk_ends_detection_with_what_it_has(
    data: Path, weights: Path, tmp_path: Path
) -> None:
    """The first picture that does not fit ends the work; the JSON still says what was done."""
    arguments = _commands(data, weights, tmp_path / "out")["detect"]
    status, printed = run(arguments, tmp_path / "log", largest_file=2000)
    assert status == 2 and "Traceback" not in printed
    line = printed.splitlines()[-1]
    assert line.startswith("fcos: error: [Errno 27]") and f"{tmp_path / 'out' / '11.png'}" in line
    left = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in left] == ["detections.json", "results.json"]
    assert [path.read_text() for path in left] == ["[]", "[]"]


@pytest.mark.parametrize("name", ["train", "detect", "eval", "draw"])
def test_a_folder_that_cannot_be_is_refused_first(
    data: Path, weights: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "file").touch()
    capsys.readouterr()
    assert main(_commands(data, weights, data / "file" / "out")[name]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("fcos: error: [Errno 20] Not a directory")
    assert captured.err.count("\n") == 1 and "AP" not in captured.out


@pytest.mark.parametrize("name", ["train", "detect", "eval", "draw"])
def test_a_read_only_folder_is_refused_first(
    data: Path,
    weights: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, dir: Path, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), f"{dir}/tmp123")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    capsys.readouterr()
    assert main(_commands(data, weights, data / "out")[name]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"fcos: error: [Errno 30] Read-only file system: '{data / 'out'}'\n"


def test_errors_name_the_file_that_was_to_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No space left on device: '.*/a.txt'"):
        with atomic_path(tmp_path / "a.txt"), open("/dev/full", "w") as full:
            full.write("x")
            full.flush()
    with pytest.raises(FileNotFoundError, match="none.txt"), atomic_path(tmp_path / "a.txt"):
        open(tmp_path / "none.txt")
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(UserError, match="folder must be .*, got a folder"),
        atomic_path(tmp_path / "folder"),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_writable_folders_are_left_as_they_are(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_torch_files_are_whole_or_old(tmp_path: Path) -> None:
    save_torch_file(tmp_path / "a.pth", 1)
    with pytest.raises(AttributeError):
        save_torch_file(tmp_path / "a.pth", lambda: 2)  # cannot be pickled
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


def test_links_stay_and_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    for name in ("there", "new"):
        (tmp_path / name).symlink_to(tmp_path / "store" / name)
    (tmp_path / "store" / "there").touch()
    for name in ("there", "new"):
        with atomic_path(tmp_path / name) as temporary:
            temporary.write_text("x")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "store" / name).read_text() == "x"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe must be an ordinary file"):
        with atomic_path(tmp_path / "pipe"):
            pass
    assert (tmp_path / "pipe").is_fifo()


def test_a_long_name_has_room_for_a_temporary_file(tmp_path: Path) -> None:
    for name in ("a" * 251 + ".png", "\N{SNOWMAN}" * 83 + ".png"):
        with atomic_path(tmp_path / name) as temporary:
            temporary.write_text("x")
        assert (tmp_path / name).read_text() == "x"
