"""Where the parts that C++ programs build against were installed."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _existing(folder: str) -> str:
    path = _PACKAGE / folder
    if not path.is_dir():
        raise RuntimeError(f"{path} does not exist: the native library of fcos_ops was not built")
    return str(path)


def get_include() -> str:
    """The directory for `-I`: headers are included as <fcos_ops/nms.h>.

    Raises:
        RuntimeError: the native library was not built (so for the next two).
    """
    return _existing("include")


def get_library_dir() -> str:
    """The directory that holds libfcos_ops.so."""
    return _existing("lib")


def get_cmake_dir() -> str:
    """The directory for `-Dfcos_ops_DIR=`, from which find_package(fcos_ops) works."""
    return _existing("share/cmake/fcos_ops")
