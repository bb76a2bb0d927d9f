"""The steps of scripts/gpu_check: what each runs, and which run side by side."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
PYTHON = sys.executable
CORES = os.cpu_count() or 1


class Rows(NamedTuple):
    """Cases of the benchmarks: the ops, and patterns of "op: case", in which * is any text."""

    ops: tuple[str, ...]
    cases: tuple[str, ...]


# Cases in which peers are timed, too.
PEERS = (
    "focal_loss: forward*, batch 16, 800x1344, 80 classes",
    "fcos_loss: improved, 50 boxes an image, batch 16, 800x1344, 80 classes",
    "iou_loss: giou, *",
    "centerness: forward+backward, batch 16, 800x1344",
)
# What a GPU shall decide: a macro FCOS_OPS_AB_<name> in csrc/, 0 unless it is defined as 1, and the
# rows that it may change. The library is built once more for each.
AB: dict[str, Rows] = {
    "LAST_BLOCK": Rows(
        ("focal_loss", "iou_loss", "centerness"),
        (
            "focal_loss: forward*batch 16*",
            "iou_loss: giou, 45000 boxes*",
            "centerness: forward+backward*",
        ),
    ),
    "ASSIGN_LAST_BLOCK": Rows(("assign_targets",), ("assign_targets: *",)),
    "NORM_TWO_LAUNCHES": Rows(("group_norm",), ("group_norm: *channels_last*",)),
    "NORM_LATER": Rows(("group_norm",), ("group_norm: *channels_last*",)),
}


class Step(NamedTuple):
    """Commands in their order, or why there are none. limit: seconds for all of them."""

    commands: list[list[str]] | str
    limit: int
    environment: dict[str, str] = {}
    folder: Path = ROOT
    note: str = ""


Steps = dict[str, Step]


def build() -> Step:
    install = [PYTHON, "-m", "pip", "install", "--no-index", "--no-build-isolation", "--no-deps"]
    return Step([[*install, "-e", "."]], 150)


def tests() -> Steps:
    """Those marked every_device in parallel processes; those of streams and graphs in one, without
    what runs on fibers."""
    pytest = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    parallel, note = ["-n", str(max(1, min(12, CORES - 4)))], ""
    if importlib.util.find_spec("xdist") is None:
        parallel, note = [], "pytest-xdist is not installed: in one process"
    alone = ["tests/test_cuda.py", "tests/test_memory.py", "-k", "not simt and not launches"]
    return {
        "tests on cuda": Step(
            [[*pytest, *parallel, "--device", "cuda", "tests"]],
            180,
            {"OMP_NUM_THREADS": "2"},
            note=note,
        ),
        "tests of capture and streams": Step([[*pytest, *alone]], 120),
    }


def sanitizers() -> Steps:
    sanitizer = shutil.which("compute-sanitizer") or shutil.which(
        "compute-sanitizer", path="/usr/local/cuda/bin"
    )
    # The caching allocator would hide accesses beyond a tensor.
    environment = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    result = {}
    for tool in TOOLS:
        command = [str(sanitizer), "--tool", tool, "--error-exitcode", "9"]
        if tool == "memcheck":
            command += ["--leak-check", "no"]
        command += [PYTHON, "-m", "tests.gpu_cases"]
        commands = [command] if sanitizer else "compute-sanitizer was not found"
        result[tool] = Step(commands, 180, environment)
    return result


def consumer(folder: Path) -> Step:
    """tests/cpp/consumer against what was installed."""
    build = str(folder / "consumer")
    configure = ["cmake", "-S", "tests/cpp/consumer", "-B", build, "-G", "Ninja", "-DWITH_CUDA=ON"]
    configure.append(f"-Dfcos_ops_DIR={ROOT / 'fcos_ops/share/cmake/fcos_ops'}")
    return Step([configure, ["cmake", "--build", build], [f"{build}/consumer"]], 60)


def benchmarks(output: Path) -> Steps:
    """All cases of ours beside a copy; the peers, which take long to compile, on a few."""
    suite = [PYTHON, "-m", "benchmarks", "--device", "cuda"]
    ours = [*suite, "--budget", "0.5", "--output", str(output / "gpu_benchmarks.json")]
    peers = [*suite, "--budget", "1", "--output", str(output / "gpu_benchmarks_peers.json")]
    peers += ["focal_loss", "fcos_loss", "iou_loss", "centerness"]
    peers += ["--cases", *PEERS, "--contenders", "torch.compile", "torchvision"]
    return {
        "benchmarks": Step([[*ours, "--contenders"]], 120),
        "benchmarks of peers": Step([peers], 120),
    }


def variant(name: str, folder: Path) -> Step:
    """Builds the library with a constant set, in a copy of the packages."""
    tree = folder / name
    macro = f"-DFCOS_OPS_AB_{name}=1"
    configure = ["cmake", "--fresh", "-S", "csrc", "-B", str(tree / "build"), "-G", "Ninja"]
    configure += ["-DCMAKE_BUILD_TYPE=Release", "-DFCOS_OPS_PYTHON=ON", "-DFCOS_OPS_CUDA=ON"]
    configure += [f"-DPython_EXECUTABLE={PYTHON}", f"-DCMAKE_CUDA_FLAGS={macro}"]
    configure += [f"-DCMAKE_CXX_FLAGS={macro}"]
    commands = [
        ["mkdir", "-p", str(tree)],
        ["cp", "-r", "fcos_ops", "benchmarks", str(tree)],
        configure,
        ["nice", "cmake", "--build", str(tree / "build"), "--parallel", str(max(2, CORES // 4))],
        ["cmake", "--install", str(tree / "build"), "--prefix", str(tree / "fcos_ops")],
    ]
    return Step(commands, 180)


def compared(name: str, rows: Rows, tree: Path, output: Path) -> Step:
    """The rows of a constant, from the packages in a folder."""
    command = [PYTHON, "-m", "benchmarks", "--device", "cuda", "--budget", "0.5", *rows.ops]
    command += ["--output", str(output / f"{name}.json"), "--cases", *rows.cases, "--contenders"]
    return Step([command], 60, folder=tree)


def stages(output: Path) -> list[Steps]:
    """Steps by name. Those of a stage run side by side; what is timed runs alone."""
    folder = output / "ab"
    result: list[Steps] = [
        {"build": build()},
        {
            **tests(),
            **sanitizers(),
            "C++ consumer": consumer(output),
            **{f"A/B build of {name}": variant(name, folder) for name in AB},
        },
    ]
    timed = benchmarks(output)
    result.append({"benchmarks": timed["benchmarks"]})
    if AB:
        union = Rows(
            tuple(sorted({op for rows in AB.values() for op in rows.ops})),
            tuple(sorted({text for rows in AB.values() for text in rows.cases})),
        )
        # Without the constants at both ends: what differs between these two is no difference.
        result.append({"A/B rows before": compared("before", union, ROOT, folder)})
        for name, rows in AB.items():
            result.append({f"A/B rows of {name}": compared(name, rows, folder / name, folder)})
        result.append({"A/B rows after": compared("after", union, ROOT, folder)})
    result.append({"benchmarks of peers": timed["benchmarks of peers"]})
    return result


def chosen(plan: list[Steps], only: list[str] | None) -> list[Steps]:
    """The steps whose names begin as one of `only` does; stages without any are left out."""
    if only is None:
        return plan
    kept = [{n: s for n, s in stage.items() if n.startswith(tuple(only))} for stage in plan]
    return [stage for stage in kept if stage]
