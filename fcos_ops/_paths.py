"""Where this package and the parts that C++ programs build against are, and its version."""

import re
import sys
from pathlib import Path
from types import ModuleType

_PACKAGE = Path(__file__).resolve().parent


def _existing(folder: str) -> str:
    path = _PACKAGE / folder
    if not path.is_dir():
        raise RuntimeError(f"{path} does not exist: the native library of fcos_ops was not built")
    return str(path)


def foreign(module: ModuleType) -> str:
    """Where a part of the package lies elsewhere, a sentence with both places; else ""."""
    path = getattr(module, "__file__", None)
    if path is None or Path(path).parent.samefile(Path(__file__).parent):
        return ""
    return f"{_PACKAGE} was imported, which holds no _C of its own, and {path} is of another build"


def other_installation() -> str:
    """For a package without _C, a sentence with its place and that of one with _C, if there is."""
    if any(_PACKAGE.glob("_C*.so")):
        return ""
    others = [Path(entry, "fcos_ops").resolve() for entry in sys.path]
    built = [p for p in others if p != _PACKAGE and any(p.glob("_C*.so"))]
    hides = f", and hides {built[0]}, which was" if built else ""
    return f"; {_PACKAGE} was imported, which was not built{hides}"


def version() -> str:
    """The version, from the header that states it: the installed one, or a source tree's."""
    for folder in (_PACKAGE / "include", _PACKAGE.parent / "csrc" / "include"):
        header = folder / "fcos_ops" / "version.h"
        if header.is_file() and (found := re.search(r'kVersion\[\] = "(.+)"', header.read_text())):
            return found[1]
    return "unknown"


def get_include() -> str:
    """The directory for `-I`: headers are included as <fcos_ops/nms.h>.

    Raises:
        RuntimeError: the native library was not built (so for the next two).
    """
    return _existing("include")


def get_library_dir() -> str:
    """The directory that holds libfcos_ops.so, as `-lfcos_ops` finds it."""
    return _existing("lib")


def get_cmake_dir() -> str:
    """The directory for `-Dfcos_ops_DIR=`, from which find_package(fcos_ops) works."""
    return _existing("share/cmake/fcos_ops")
