"""Drives CMake, which builds the native library and the Python module; see csrc/CMakeLists.txt.

Environment: FCOS_OPS_CUDA=AUTO|ON|OFF, CMAKE_ARGS (passed on), MAX_JOBS (parallel compilations).
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
VERSION_HEADER = ROOT / "csrc/include/fcos_ops/version.h"


def version() -> str:
    """The version, read from the one place where it is written."""
    match = re.search(r'kVersion\[\] = "([^"]+)"', VERSION_HEADER.read_text())
    if match is None:
        raise RuntimeError(f"no kVersion in {VERSION_HEADER}")
    return match.group(1)


def say(line: str) -> None:
    """To the terminal, too, if there is one: pip shows the output of a build only if it fails."""
    print(line, flush=True)
    if sys.stdout.isatty():
        return
    try:
        with open("/dev/tty", "w") as terminal:
            print(f"\n{line}", file=terminal, flush=True)  # behind the spinner of pip
    except OSError:
        pass


class CMakeBuild(build_ext):
    """Installs the CMake project into the fcos_ops package that is being built."""

    def build_extension(self, ext: Extension) -> None:
        configure = [
            # --fresh: the last build may have found tools in an isolated environment, now gone.
            *("cmake", "--fresh", "-S", str(ROOT / "csrc"), "-B", self.build_folder()),
            *("-G", "Ninja"),
            "-DCMAKE_BUILD_TYPE=Release",
            "-DFCOS_OPS_PYTHON=ON",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DFCOS_OPS_CUDA={os.environ.get('FCOS_OPS_CUDA', 'AUTO')}",
            *shlex.split(os.environ.get("CMAKE_ARGS", "")),
        ]
        jobs = os.environ.get("MAX_JOBS", str(os.cpu_count() or 1))
        subprocess.run(configure, check=True)
        if architectures := self.cuda_architectures():
            say(
                f"fcos_ops: compiling CUDA kernels for {architectures}, which takes minutes. "
                "FCOS_OPS_CUDA=OFF leaves them out, CMAKE_ARGS=-DCMAKE_CUDA_ARCHITECTURES=90 "
                "compiles for one architecture."
            )
        subprocess.run(["cmake", "--build", self.build_folder(), "--parallel", jobs], check=True)
        self.install_into(Path(self.get_ext_fullpath(ext.name)).resolve().parent)

    def copy_extensions_to_source(self) -> None:
        """For an editable install: the library, headers and CMake files belong there too."""
        self.install_into(ROOT / "fcos_ops")

    def build_folder(self) -> str:
        return str(Path(self.build_temp).resolve() / "cmake")

    def cuda_architectures(self) -> str:
        """Those that the kernels will be compiled for, as "sm_80 sm_90"; "" without kernels."""
        cache = (Path(self.build_folder()) / "CMakeCache.txt").read_text()
        match = re.search(r"^FCOS_OPS_BUILT_ARCHITECTURES:\w+=(.*)$", cache, re.MULTILINE)
        return match[1] if match else ""

    def install_into(self, package: Path) -> None:
        command = ["cmake", "--install", self.build_folder(), "--prefix", str(package)]
        subprocess.run(command, check=True)


setup(
    version=version(),
    ext_modules=[Extension("fcos_ops._C", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
)
