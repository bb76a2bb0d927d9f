"""The limits that Python and csrc/ both state are the same. (Words: test_native_arguments.py.)"""

import re
from math import log2

import pytest

from fcos_ops import _constants
from tests.repository import REPOSITORY


def source(name: str) -> str:
    return (REPOSITORY / "csrc" / name).read_text()


@pytest.mark.parametrize(
    "value, name, statement",
    [
        (_constants.CPU_DEVICE, "include/fcos_ops/types.h", r"kCpuDevice = (-\d+);"),
        (_constants.MAX_LEVELS, "include/fcos_ops/types.h", r"kMaxLevels = (\d+);"),
        (log2(_constants.MAX_LOCATIONS), "bindings/arguments.h", r"kMaxLocations = .* << (\d+);"),
        (_constants.MAX_GAMMA, "ops/checks.h", r"gamma <= (\S+);"),
        (_constants.MAX_IOU_EPS, "ops/checks.h", r"is_iou_eps.*eps <= (\S+);"),
        (_constants.MAX_NORM_EPS, "ops/checks.h", r"is_norm_eps.*eps <= (\S+);"),
    ],
)
def test_limits(value: float, name: str, statement: str) -> None:
    found = re.search(statement, source(name))
    assert found is not None and float(found[1]) == value
