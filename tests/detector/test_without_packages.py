"""`fcos` as pip installs it without the extra `detector`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
sys.modules.update(dict.fromkeys({missing}))  # None: as if it were not installed
from fcos.cli import main
sys.exit(main({arguments}))
"""


def _run(missing: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    script = SCRIPT.format(missing=missing, arguments=list(arguments))
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


@pytest.mark.parametrize("missing", ["PIL", "tqdm"])
def test_one_line_says_what_to_install(missing: str) -> None:
    result = _run([missing], "detect", __file__, "--weights", __file__, "--output", "c")
    assert result.returncode == 2
    message = f"fcos: error: {missing} is missing: pip install 'fcos_ops[detector]'\n"
    assert result.stderr == message


def test_without_torch() -> None:
    result = _run(["torch"], "demo")
    assert result.returncode == 2 and not result.stdout
    assert result.stderr == "fcos: error: torch is missing: pip install 'fcos_ops[detector]'\n"


def test_without_numpy() -> None:
    """torch can do without, and so can --help."""
    assert "usage: fcos" in _run(["numpy"], "--help").stdout
    result = _run(["numpy"], "demo")
    assert result.returncode == 2
    message = "fcos: error: numpy is missing: pip install 'fcos_ops[detector]'"
    assert result.stderr.splitlines()[-1] == message and "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_needs_none_of_them(arguments: list[str]) -> None:
    result = _run(["torch", "PIL", "pycocotools", "tqdm", "matplotlib"], *arguments)
    assert result.returncode == 0 and "usage: fcos" in result.stdout and not result.stderr


def test_the_import_needs_none_of_them() -> None:
    """What needs them says so when it is asked for."""
    script = """
import sys
sys.modules.update(dict.fromkeys(["torch", "numpy", "PIL", "pycocotools", "tqdm"]))
import fcos
try:
    fcos.load
except ModuleNotFoundError as error:
    print(error.name)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("torch\n", "")


@pytest.mark.parametrize("command", ["train --output out", "eval", "show --output out"])
def test_what_is_wrong_with_data_is_said_without_torch(command: str) -> None:
    """torch takes seconds to import."""
    result = _run(["torch"], *command.split(), "--data", "nowhere", *_weights(command))
    assert result.returncode == 2
    message = "fcos: error: --data must be a folder, got nowhere, which is not there\n"
    assert result.stderr == message


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("detect none.jpg --weights w --output out", "image not found: none.jpg"),
        (f"detect {__file__} --weights none --output out", "file of weights not found: none"),
        ("convert none out.pth", "file of weights not found: none"),
    ],
)
def test_what_is_not_there_is_said_without_torch(command: str, message: str) -> None:
    result = _run(["torch"], *command.split())
    assert (result.returncode, result.stderr) == (2, f"fcos: error: {message}\n")


def test_show_needs_no_torch(data: Path, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("[]")
    arguments = ["--data", str(data), "--split", "train", "--output", str(tmp_path / "out")]
    for more in ([], ["--results", str(tmp_path / "results.json"), "--overwrite"]):
        result = _run(["torch"], "show", *arguments, *more)
        assert result.returncode == 0, result.stderr


def _weights(command: str) -> list[str]:
    return ["--weights", __file__] if command == "eval" else []
