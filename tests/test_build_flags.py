"""The compiler flags of every native source that decide how numbers are rounded, against a table: a
pattern of csrc/CMakeLists.txt that no longer finds its file changes results without an error."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

from tests.repository import REPOSITORY

CSRC = REPOSITORY / "csrc"
# Contraction, reassociation, instruction sets, and what nvcc has of the like. That a spill is an
# error stands beside them, as it is set by the same patterns.
OF_INTEREST = re.compile(
    r"-ffp-|-f.*math|-Ofast|-m|--?fmad|--?ftz|--?prec-|--?use_fast_math|-Xptxas|--?maxrregcount"
)
LIBRARY = ["-fno-math-errno", "-fno-trapping-math"]
CONTRACTED = LIBRARY
EXACT = [*LIBRARY, "-ffp-contract=off"]
GATE = "-Xptxas=-Werror,--warn-on-spills"
FLAGS: dict[str, list[str]] = {
    "bindings/arguments.cpp": [],
    "bindings/assign_targets.cpp": [],
    "bindings/centerness.cpp": [],
    "bindings/fcos_loss.cpp": [],
    "bindings/focal_loss.cpp": [],
    "bindings/group_norm.cpp": [],
    "bindings/iou_loss.cpp": [],
    "bindings/module.cpp": [],
    "bindings/nms.cpp": [],
    "bindings/postprocess.cpp": [],
    "bindings/scale_gradients.cpp": [],
    "bindings/tensor.cpp": [],
    "cpu/assign_targets/assign_targets.cpp": EXACT,
    "cpu/centerness.cpp": CONTRACTED,
    "cpu/fcos_loss/fcos_loss.cpp": EXACT,
    "cpu/focal_loss/class_loss.cpp": EXACT,
    "cpu/focal_loss/focal_loops.cpp": CONTRACTED,
    "cpu/focal_loss/focal_loss.cpp": EXACT,
    "cpu/group_norm/group_norm.cpp": EXACT,
    "cpu/group_norm/group_norm_backward.cpp": EXACT,
    "cpu/iou_loss/iou_loops.cpp": EXACT,
    "cpu/iou_loss/iou_loss.cpp": EXACT,
    "cpu/nms/nms.cpp": EXACT,
    "cpu/postprocess/postprocess.cpp": EXACT,
    "cpu/scale_gradients.cpp": EXACT,
    "ops/assign_targets.cpp": EXACT,
    "ops/build_info.cpp": EXACT,
    "ops/centerness.cpp": EXACT,
    "ops/fcos_loss.cpp": EXACT,
    "ops/focal_loss.cpp": EXACT,
    "ops/group_norm.cpp": EXACT,
    "ops/iou_loss.cpp": EXACT,
    "ops/nms.cpp": EXACT,
    "ops/postprocess.cpp": EXACT,
    "ops/scale_gradients.cpp": EXACT,
}
KERNEL_FLAGS = {
    "cuda/assign_targets/assign_targets.cu": ["--fmad=false", GATE],
    "cuda/centerness.cu": [GATE],
    "cuda/common/device_radix_sort.cu": ["--fmad=false"],
    "cuda/fcos_loss/fcos_classes.cu": ["--ftz=true", "--prec-div=false", GATE],
    "cuda/fcos_loss/fcos_loss.cu": ["--fmad=false", "--ftz=true", GATE],
    "cuda/focal_loss/focal_loss.cu": ["--ftz=true", "--prec-div=false", GATE],
    "cuda/group_norm/group_norm.cu": [GATE],
    "cuda/group_norm/group_norm_backward.cu": [GATE],
    "cuda/iou_loss.cu": ["--fmad=false", GATE],
    "cuda/nms/nms.cu": ["--fmad=false", GATE],
    "cuda/postprocess/postprocess.cu": ["--fmad=false", GATE],
    "cuda/scale_gradients.cu": ["--fmad=false", GATE],
}


def configured_flags(folder: Path, cuda: str) -> dict[str, list[str]]:
    """The flags of interest of every source, as the build would pass them. Nothing is compiled."""
    subprocess.run(
        [
            *("cmake", "-S", CSRC, "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"),
            *("-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", "-DFCOS_OPS_PYTHON=ON"),
            *(f"-DPython_EXECUTABLE={sys.executable}", f"-DFCOS_OPS_CUDA={cuda}"),
            "-DCMAKE_CUDA_ARCHITECTURES=90",
        ],
        check=True,
        capture_output=True,
    )
    commands = json.loads((folder / "compile_commands.json").read_text())
    return {
        Path(entry["file"]).relative_to(CSRC).as_posix(): sorted(
            word for word in shlex.split(entry["command"]) if OF_INTEREST.match(word)
        )
        for entry in commands
    }


def in_order(table: dict[str, list[str]]) -> dict[str, list[str]]:
    return {source: sorted(flags) for source, flags in table.items()}


def test_sources_round_as_the_table_says(tmp_path: Path) -> None:
    assert configured_flags(tmp_path, "OFF") == in_order(FLAGS)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc: CMake cannot configure kernels")
def test_kernels_round_as_the_table_says(tmp_path: Path) -> None:
    assert configured_flags(tmp_path, "ON") == in_order({**FLAGS, **KERNEL_FLAGS})


def test_kernel_resources_compiles_as_the_build_does() -> None:
    """The figures of csrc/cuda/resources.csv are those of the kernels that are shipped."""
    loader = SourceFileLoader("kernel_resources", str(REPOSITORY / "scripts/kernel_resources"))
    script = module_from_spec(spec_from_loader("kernel_resources", loader))  # type: ignore[arg-type]
    loader.exec_module(script)
    for source, flags in KERNEL_FLAGS.items():
        name = source.removeprefix("cuda/")
        if name not in script.OUTSIDE:
            assert [*script.FLAGS.get(name, ["--fmad=false"]), GATE] == flags
