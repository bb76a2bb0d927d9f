"""CPU loops are compiled for several instruction sets; the older ones compute the same."""

import os
import subprocess
import sys

import pytest

import fcos_ops
from tests.repository import REPOSITORY

TESTS = (
    "tests/test_assign_targets.py::test_every_preset_and_dtype",
    "tests/test_centerness_loss.py::test_loss",
    "tests/test_centerness_target.py::test_target",
    "tests/test_fcos_loss.py::test_numbers_of_classes",
    "tests/test_fcos_loss.py::test_presets",
    "tests/test_focal_loss.py::test_every_dtype_and_reduction",
    "tests/test_group_norm.py",
    "tests/test_group_norm_layouts.py",
    "tests/test_iou_loss.py::test_every_dtype_and_reduction",
    "tests/test_iou_loss_extremes.py::test_ties_and_degenerate_boxes",
    "tests/test_nms.py::test_equals_the_reference",
    "tests/test_postprocess_kernels.py::test_sizes_round_tiles_and_vectors",
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
    probe = run(["-c", script], instruction_set)
    assert probe.returncode == 0, probe.stderr
    used, usual = probe.stdout.strip(), fcos_ops.build_info()["cpu_instruction_set"]
    assert used in (SETS[instruction_set], "baseline")
    if used != SETS[instruction_set]:
        pytest.skip(f"this processor has no {SETS[instruction_set]}: it runs {used}")
    if used == usual:
        pytest.skip(f"{used} is what all other tests run on this processor")
    options = ["-q", "-p", "no:cacheprovider", "--device", "cpu"]
    finished = run(["-m", "pytest", *options, *TESTS], instruction_set)
    assert finished.returncode == 0, finished.stdout
    assert " passed" in finished.stdout and "skipped" not in finished.stdout
