"""The native library: loading it, asking what it holds, choosing between it and the reference."""

import importlib
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch  # before _C, so that both share torch's OpenMP runtime and its one thread pool
from torch import Tensor

_C: Any = None
_IMPORT_ERROR = ""
try:
    _C = importlib.import_module("fcos_ops._C")
except ImportError as error:
    _IMPORT_ERROR = str(error)

BACKENDS = ("native", "reference")

# The numbers of DType in csrc/include/fcos_ops/types.h.
DTYPE_CODES = {
    torch.float32: 0,
    torch.float64: 1,
    torch.float16: 2,
    torch.bfloat16: 3,
    torch.int32: 4,
    torch.int64: 5,
    torch.uint8: 6,
    torch.bool: 6,
}

_STRICT = os.environ.get("FCOS_OPS_STRICT") == "1"
_warned: set[str] = set()


def _checked_backend(name: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {BACKENDS}, got {name!r}")
    return name


_backend = _checked_backend(os.environ.get("FCOS_OPS_BACKEND", "native"))


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Runs every op on one backend while the context is open, in all threads.

    Args:
        name: "native" (the C++ library; the default where it was built) or "reference"
            (plain PyTorch). The environment variable FCOS_OPS_BACKEND sets the default.

    Raises:
        ValueError: another name.
    """
    global _backend
    previous, _backend = _backend, _checked_backend(name)
    try:
        yield
    finally:
        _backend = previous


def unavailable_reason(device_type: str) -> str | None:
    """Why the native library cannot run on "cpu" or "cuda", or None where it can."""
    if _C is None:
        return f"the native library could not be imported ({_IMPORT_ERROR})"
    if device_type == "cuda" and not _C.build_info()["cuda"]:
        return f"it was built without CUDA ({_C.build_info()['cuda_reason']})"
    return None


_UNAVAILABLE = {device: unavailable_reason(device) for device in ("cpu", "cuda")}


def enabled(op: str, tensor: Tensor) -> bool:
    """Whether `op` shall run natively on the device of `tensor`.

    Where the backend is "native" but cannot run there, the reference takes over after one warning
    per op, or, with FCOS_OPS_STRICT=1, a RuntimeError is raised.
    """
    if _backend == "reference":
        return False
    device_type = tensor.device.type
    reason = _UNAVAILABLE.get(device_type, f"it has no kernels for device {device_type!r}")
    if reason is None:
        return True
    _warn_of_fallback(op, device_type, reason)
    return False


def _warn_of_fallback(op: str, device_type: str, reason: str) -> None:
    message = f"fcos_ops.{op} has no native kernel for {device_type}: {reason}"
    if _STRICT:
        raise RuntimeError(f"{message} (FCOS_OPS_STRICT=1)")
    if op not in _warned and not torch.compiler.is_compiling():
        _warned.add(op)
        warnings.warn(f"{message}; it runs on the slower reference", RuntimeWarning, stacklevel=4)


def build_info() -> dict[str, object]:
    """What was built and what runs, as plain values: paste it into a bug report.

    Returns:
        A dictionary with `version`, `native` (the library was imported), `native_reason` (why not),
        `cuda` (it has CUDA kernels), `cuda_reason`, `cuda_architectures`, `compiler`,
        `cpu_instruction_set` (what this processor runs), `backend`, `torch`, `python`, `platform`.
    """
    info: dict[str, object] = {"native": _C is not None}
    if _C is None:
        info["native_reason"] = _IMPORT_ERROR
    else:
        info.update(_C.build_info())
    info["backend"] = _backend
    info["torch"] = torch.__version__
    info["python"] = sys.version.split()[0]
    info["platform"] = platform.platform()
    return info


_CPU_DEVICE = -1  # kCpuDevice in csrc/include/fcos_ops/types.h

Place = tuple[int, int, int]


def place(tensor: Tensor) -> Place:
    """(device, stream, threads): where and how the native library works on `tensor`.

    On a GPU that is torch's current stream there, on which outputs and workspace are allocated too.
    The library sets the CUDA device around its launches and restores it.
    """
    if tensor.is_cpu:
        return _CPU_DEVICE, 0, torch.get_num_threads()
    index = tensor.device.index
    return index, torch._C._cuda_getCurrentRawStream(index), 1


def call(function: Callable[..., Any], where: Place, *arguments: Any) -> Any:
    """Calls a native function; tensors among the arguments are passed as their addresses.

    The argument tuple keeps every tensor alive until the function returns, temporaries included.
    What `place` gave follows the arguments.
    """
    return function(
        *[a.data_ptr() if isinstance(a, Tensor) else 0 if a is None else a for a in arguments],
        *where,
    )
