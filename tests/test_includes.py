"""Which folder of csrc/ may include which. A file uses its own folder, the common/ of its device,
and what lies below: common/, math/ and the public headers. What else it needs stands here by name.
"""

import re
from pathlib import Path

import pytest

from tests.repository import REPOSITORY

CSRC = REPOSITORY / "csrc"
INCLUDE = re.compile(r'^ *# *include "([^"]+)"', re.MULTILINE)
BELOW = {"common", "math", "include/fcos_ops"}
FOLDERS = {
    "include/fcos_ops": {"include/fcos_ops"},
    "math": BELOW,  # and common/ uses math/: dispatch by dtype knows the half types
    "common": BELOW,
    "ops": {*BELOW, "ops"},
    "bindings": {"bindings", "include/fcos_ops"},
}
# What one op has of another.
BETWEEN_OPS = {
    ("cpu/fcos_loss", "cpu/focal_loss"),
    ("cpu/fcos_loss", "cpu/iou_loss"),
    ("cpu/postprocess", "cpu/nms"),
    ("cuda/fcos_loss", "cuda/focal_loss"),
    ("cuda/postprocess", "cuda/nms"),
}
# The public functions call the drivers.
DRIVERS = {("ops", "cpu/drivers.h"), ("ops", "cuda/drivers.h")}
FILES = {
    ("ops/build_info.cpp", "cpu/common/isa.h"),  # which names the instruction set in use
    ("cuda/common/runtime.cuh", "simt/runtime.h"),  # the one place where kernels meet the simulator
}


def folder_of(file: str) -> str:
    return file.rpartition("/")[0]


def named(include: str) -> str:
    """An include as a path below csrc/."""
    return f"include/{include}" if include.startswith("fcos_ops/") else include


def reason(file: str, include: str) -> tuple[str, str] | bool:
    """The exception that lets a file include another, or whether it may without one."""
    folder, target = folder_of(file), named(include)
    exceptions = {(folder, folder_of(target)), (folder, target), (file, target)}
    if found := exceptions & (BETWEEN_OPS | DRIVERS | FILES):
        return found.pop()
    device = file.split("/")[0]
    if device not in ("cpu", "cuda"):
        return folder_of(target) in FOLDERS[folder]
    near = {folder, f"{device}/common", *BELOW}
    return target == f"{device}/drivers.h" or folder_of(target) in near


def includes() -> list[tuple[str, str]]:
    """(file, what it includes), both as they are written."""
    paths = [p for p in sorted(CSRC.rglob("*")) if p.suffix in (".h", ".cuh", ".cpp", ".cu")]
    return [
        (path.relative_to(CSRC).as_posix(), name)
        for path in paths
        for name in INCLUDE.findall(path.read_text())
    ]


def test_files_include_what_their_folder_may_use() -> None:
    found = includes()
    assert len(found) > 200
    assert [pair for pair in found if not reason(*pair)] == []


def test_every_exception_is_needed() -> None:
    used = {reason(*pair) for pair in includes()}
    assert BETWEEN_OPS | DRIVERS | FILES <= used


def test_every_include_is_there() -> None:
    """By its path below csrc/: another folder on the search path would be found, too."""
    for file, name in includes():
        assert (file, name) in FILES or Path(CSRC, named(name)).is_file(), (file, name)


@pytest.mark.parametrize(
    ("file", "include"),
    [
        ("cuda/nms/nms.cu", "cuda/postprocess/plan.cuh"),  # against the arrow
        ("cuda/iou_loss.cu", "cuda/focal_loss/elements.cuh"),  # an op of one file
        ("cuda/common/tiles.h", "cuda/nms/order.cuh"),  # common/ knows no op
        ("cpu/nms/nms.cpp", "cuda/common/tiles.h"),  # the other device
        ("math/iou.h", "cpu/common/isa.h"),
        ("include/fcos_ops/nms.h", "math/box.h"),  # an installed header, which math/ is not
        ("bindings/nms.cpp", "cuda/drivers.h"),
        ("ops/nms.cpp", "cpu/nms/nms_image.h"),
    ],
)
def test_an_include_of_something_else_is_found(file: str, include: str) -> None:
    assert (CSRC / file).is_file() and (CSRC / include).is_file()
    assert not reason(file, include)
