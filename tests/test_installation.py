"""The package where something of it, or another checkout, is not where it should be."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fcos_ops
from tests.repository import REPOSITORY

PACKAGE = Path(fcos_ops.__file__).parent
NMS = "import torch, fcos_ops; fcos_ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)"

needs_library = pytest.mark.skipif(
    not fcos_ops.build_info()["native"],
    reason="the native library was not built, and this tests how it is found",
)


def run(*arguments: str, path: tuple[Path, ...], cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A source tree of the Python files alone: nothing in it was built."""
    shutil.copytree(
        PACKAGE,
        tmp_path / "checkout" / "fcos_ops",
        ignore=shutil.ignore_patterns("_C*.so", "lib", "include", "share", "__pycache__"),
    )
    return tmp_path / "checkout"


def test_version() -> None:
    header = (REPOSITORY / "csrc/include/fcos_ops/version.h").read_text()
    (stated,) = re.findall(r'"(.+)"', header)
    assert fcos_ops.__version__ == stated == fcos_ops.build_info().get("version", stated)


@needs_library
def test_paths_need_no_torch(tmp_path: Path) -> None:
    """-S: without the packages of the environment."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "fcos_ops").symlink_to(PACKAGE)
    for option, folder in [("--cmake", "share/cmake/fcos_ops"), ("--include", "include")]:
        result = run("-S", "-m", "fcos_ops", option, path=(site,), cwd=tmp_path)
        assert result.stdout == f"{PACKAGE.resolve() / folder}\n", result.stderr


def test_what_needs_torch_says_so_in_one_line(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "fcos_ops").symlink_to(PACKAGE)
    result = run("-S", "-m", "fcos_ops", path=(site,), cwd=tmp_path)
    message = "fcos_ops.build_info needs torch, which is not installed"
    assert result.returncode == 1 and result.stderr == f"python -m fcos_ops: {message}\n"
    script = "import fcos_ops; print(fcos_ops.__version__); from fcos_ops import nms"
    result = run("-S", "-c", script, path=(site,), cwd=tmp_path)
    assert result.stdout == f"{fcos_ops.__version__}\n"
    assert "ImportError: fcos_ops.nms needs torch" in result.stderr


def test_paths_of_a_checkout_that_was_not_built(checkout: Path) -> None:
    result = run("-m", "fcos_ops", "--cmake", path=(), cwd=checkout)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert f"{checkout / 'fcos_ops' / 'share'}" in result.stderr


@needs_library
def test_a_checkout_that_hides_the_built_package(checkout: Path, tmp_path: Path) -> None:
    """-S keeps away an editable install, whose library it would else find."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "fcos_ops").symlink_to(PACKAGE)
    packages = [entry for entry in sys.path if entry.endswith("-packages")]
    script = f"import sys; sys.path += {packages}\n{NMS}"
    result = run("-S", "-c", script, path=(checkout, site), cwd=tmp_path)
    message = f"{checkout / 'fcos_ops'} was imported, which was not built, and hides {PACKAGE}"
    assert result.returncode == 0 and result.stderr.count("has no native kernel") == 1
    assert message in result.stderr


@needs_library
def test_the_library_of_another_checkout_is_not_used(checkout: Path, tmp_path: Path) -> None:
    """As the finder of an editable install lends it."""
    script = f"""
import importlib.machinery, sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "fcos_ops._C":
            return importlib.machinery.PathFinder.find_spec(name, [{str(PACKAGE)!r}])

sys.meta_path.insert(0, Finder)
{NMS}
print(fcos_ops.build_info()["native"])
"""
    result = run("-c", script, path=(checkout,), cwd=tmp_path)
    assert result.stdout == "False\n", result.stderr
    (warning,) = [line for line in result.stderr.splitlines() if "has no native kernel" in line]
    assert f"{checkout / 'fcos_ops'} was imported" in warning
    assert f"{PACKAGE}{os.sep}_C" in warning and "is of another build" in warning
