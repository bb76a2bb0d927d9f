"""CPU loops are compiled for several instruction sets; the older ones compute the same."""

import os
import subprocess
import sys

import pytest

import fcos_ops
from tests.repository import REPOSITORY

TESTS = (
    "tests/test_assign_targets.py::test_every_preset_and_dtype",
    "tests/test_centerness.py::test_loss",
    "tests/test_centerness.py::test_target",
    "tests/test_fcos_loss.py::test_numbers_of_classes",
    "tests/test_fcos_loss.py::test_presets",
    "tests/test_focal_loss.py::test_every_dtype_and_reduction",
    "tests/test_iou_loss.py::test_every_dtype_and_reduction",
    "tests/test_iou_loss.py::test_ties_and_degenerate_boxes",
    "tests/test_nms.py::test_equals_the_reference",
    "tests/test_postprocess.py::test_presets_match_the_reference",
)
SETS = {"baseline": "baseline", "avx2": "AVX2+FMA"}  # FCOS_OPS_ISA: the name in build_info


def run(arguments: list[str], instruction_set: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "FCOS_OPS_ISA": instruction_set},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("instruction_set", SETS)
def test_older_instruction_sets(instruction_set: str) -> None:
    script = "import fcos_ops; print(fcos_ops.build_info()['cpu_instruction_set'])"
    used = run(["-c", script], instruction_set).stdout.strip()
    if used != SETS[instruction_set]:
        pytest.skip(f"this processor has no {SETS[instruction_set]}: it runs {used}")
    if used == fcos_ops.build_info()["cpu_instruction_set"]:
        pytest.skip(f"{used} is what all other tests run on this processor")
    options = ["-q", "-p", "no:cacheprovider", "--device", "cpu"]
    finished = run(["-m", "pytest", *options, *TESTS], instruction_set)
    assert finished.returncode == 0, finished.stdout
