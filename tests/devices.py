"""Where tests marked `every_device` run: on the CPU, on "simt" (the CUDA kernels compiled by the
host compiler and run on fibers, see tests/simt), and on a GPU where there is one."""

import ctypes
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

import torch

from fcos_ops import _native
from tests.repository import REPOSITORY

DEVICES = ("cpu", "simt", "cuda")
# As "simt", on a device that has no cooperative launch: for tests marked `cooperative`.
PLAIN_SIMT = "simt without cooperative launches"


def missing_reason(device: str) -> str | None:
    """Why tests cannot run on a device here, or None."""
    if device != "cuda":
        return None
    if not torch.cuda.is_available():
        return "torch sees no GPU"
    return _native.unavailable_reason("cuda")


@cache
def _simt_library() -> Path:
    """The library of the module, built at first use."""
    folder = REPOSITORY / "build" / "simt"
    environment = {**os.environ, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
    configure = ["cmake", "-S", REPOSITORY / "tests/simt", "-B", folder, "-G", "Ninja"]
    for command in (
        [*configure, f"-DPython_EXECUTABLE={sys.executable}"],
        ["cmake", "--build", folder],
    ):
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            raise RuntimeError(f"{command} failed:\n{done.stdout}\n{done.stderr}")
    (path,) = folder.glob("_simt.*.so")
    return path


@cache
def simt_module() -> ModuleType:
    """What `fcos_ops._C` is, over the CUDA kernels on fibers."""
    spec = importlib.util.spec_from_file_location("_C", _simt_library())
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def simt_program() -> Path:
    """tests/simt/kernels.cpp, compiled."""
    return _simt_library().parent / "simt_kernels"


def simt_launches() -> int:
    """Kernels and memsets that were started on "simt" so far."""
    launches = ctypes.CDLL(str(_simt_library())).simt_launches
    launches.restype = ctypes.c_int64
    return launches()


@contextmanager
def cooperative_blocks(told: int, held: int) -> Iterator[None]:
    """On "simt", how many blocks of a cooperative launch the device tells that it holds, 0 where it
    has no such launch, and how many it does hold."""
    set_blocks = ctypes.CDLL(str(_simt_library())).simt_set_cooperative_blocks
    set_blocks(told, held)
    try:
        yield
    finally:
        set_blocks(4, 4)


@contextmanager
def running_on(device: str) -> Iterator[None]:
    """Native ops run on `device`, and torch makes tensors there."""
    if device == "cuda":
        with torch.device("cuda"):
            yield
    elif device == "simt":
        with _on_simt():
            yield
    elif device == PLAIN_SIMT:
        with _on_simt(), cooperative_blocks(0, 0):
            yield
    else:
        yield


@contextmanager
def _on_simt() -> Iterator[None]:
    """CPU tensors count as memory of CUDA device 0. New ones are filled with NaN and huge numbers,
    so that a kernel which reads what nobody wrote is found out."""
    cpu_library, cpu_device = _native._C, _native._CPU_DEVICE
    deterministic = torch.are_deterministic_algorithms_enabled()
    _native._C, _native._CPU_DEVICE = simt_module(), 0
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        _native._C, _native._CPU_DEVICE = cpu_library, cpu_device
        torch.use_deterministic_algorithms(deterministic)
