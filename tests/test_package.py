"""The wheel: what is in it, what it links to, and C++ programs built against it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

import fcos_ops
from tests.repository import REPOSITORY

CPP = Path(__file__).parent / "cpp"


def run(*command: object, **environment: str) -> str:
    """Runs a command; its output, or a failure that shows it."""
    result = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}"
    return result.stdout


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fcos_ops folder of a freshly built wheel, unpacked outside the source tree."""
    folder = tmp_path_factory.mktemp("wheel")
    run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
        *(REPOSITORY, "--wheel-dir", folder),
    )
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site" / "fcos_ops"


def build(source: Path, folder: Path, *options: object) -> Path:
    """Configures and builds a CMake project; the folder with its programs."""
    run("cmake", "-S", source, "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", *options)
    run("cmake", "--build", folder)
    return folder


def library(package: Path) -> Path:
    """Named after the minor version, whose ABI it has."""
    minor = ".".join(str(fcos_ops.build_info()["version"]).split(".")[:2])
    return package / f"lib/libfcos_ops.so.{minor}"


def test_contents(package: Path) -> None:
    for name in (
        "lib/libfcos_ops.so",
        "include/fcos_ops/types.h",
        "include/fcos_ops/focal_loss.h",
        "share/cmake/fcos_ops/fcos_opsConfig.cmake",
        "py.typed",
        "_C.pyi",
    ):
        assert (package / name).is_file(), name
    assert list(package.glob("_C.*.so"))
    assert (package.parent / "fcos" / "cli.py").is_file()


def test_nothing_links_to_torch(package: Path) -> None:
    for binary in [*package.glob("_C.*.so"), library(package)]:
        needed = [line for line in run("readelf", "-d", binary).splitlines() if "NEEDED" in line]
        assert needed
        assert not [line for line in needed if "torch" in line or "c10" in line]
        assert not [line for line in needed if "python" in line]


def test_programs_ask_for_the_library_of_their_version(package: Path, tmp_path: Path) -> None:
    """Found by `-lfcos_ops`, it is loaded by the name of its ABI."""
    source, program = tmp_path / "main.cpp", tmp_path / "main"
    source.write_text("#include <fcos_ops/build_info.h>\nint main() { fcos_ops::build_info(); }\n")
    folder = package / "lib"
    options = ["-std=c++17", "-I", package / "include", f"-Wl,-rpath,{folder}"]
    run("c++", *options, source, "-o", program, f"-L{folder}", "-lfcos_ops")
    run(program)
    assert f"Shared library: [{library(package).name}]" in run("readelf", "-d", program)


def test_exports_only_the_public_names(package: Path) -> None:
    symbols = run("nm", "-DC", "--defined-only", library(package)).splitlines()
    names = [line.split(maxsplit=2)[2] for line in symbols]
    assert any(name.startswith("fcos_ops::sigmoid_focal_loss(") for name in names)
    assert [name for name in names if not name.startswith("fcos_ops::")] == []


def test_wheel_imports_and_points_at_itself(package: Path) -> None:
    script = (
        "import fcos_ops, json; assert fcos_ops.build_info()['native']; "
        "print(json.dumps([fcos_ops.get_include(), fcos_ops.get_library_dir(), "
        "fcos_ops.get_cmake_dir()]))"
    )
    output = run(sys.executable, "-P", "-c", script, PYTHONPATH=str(package.parent))
    for folder in ("include", "lib", "share/cmake/fcos_ops"):
        assert str(package / folder) in output


def test_program_without_torch_or_python(package: Path, tmp_path: Path) -> None:
    cmake_dir = package / "share/cmake/fcos_ops"
    folder = build(CPP / "consumer", tmp_path, f"-Dfcos_ops_DIR={cmake_dir}")
    print(run(folder / "consumer"))
    linked = run("ldd", folder / "consumer")
    assert str(library(package)) in linked
    assert "torch" not in linked and "python" not in linked


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no CUDA toolkit to build against")
def test_program_on_a_gpu(package: Path, tmp_path: Path) -> None:
    cmake_dir = package / "share/cmake/fcos_ops"
    options = f"-Dfcos_ops_DIR={cmake_dir}", "-DWITH_CUDA=ON"
    folder = build(CPP / "consumer", tmp_path, *options)
    done = subprocess.run([folder / "consumer"], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("built, but there is no GPU to run it")
    assert done.returncode == 0, done.stdout


def test_libtorch_program(package: Path, tmp_path: Path) -> None:
    try:
        folder = build(
            CPP / "torch_consumer",
            tmp_path,
            f"-Dfcos_ops_DIR={package / 'share/cmake/fcos_ops'}",
            f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}",
        )
    except AssertionError as error:
        if "uses CUDA but I cannot find the CUDA" not in str(error):
            raise
        pytest.skip("the CMake package of this torch wants the CUDA toolkit that it was built with")
    print(run(folder / "torch_consumer"))


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sanitized")
    return build(CPP / "sanitized", folder, f"-DFCOS_OPS_SOURCE={REPOSITORY / 'csrc'}")


@pytest.mark.parametrize("calls", ["valid", "hostile"])
@pytest.mark.parametrize("program", ["fuzz", "fuzz_kernels"])
def test_sanitizers_find_nothing(sanitized: Path, program: str, calls: str) -> None:
    """Every native function, and every CUDA kernel on fibers, on random sizes and values under
    AddressSanitizer and UBSan; and on arguments that their headers rule out, which they refuse."""
    print(run(sanitized / program, calls))
