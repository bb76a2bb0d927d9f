"""The native library: loading it, asking what it holds, choosing between it and the reference."""

import importlib
import os
import platform
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch  # before _C, so that both share torch's OpenMP runtime and its one thread pool
from torch import Tensor

from fcos_ops import _constants, _paths

_C: Any = None
_IMPORT_ERROR = ""
try:
    _C = importlib.import_module("fcos_ops._C")
except ImportError as error:
    _IMPORT_ERROR = f"{error}{_paths.other_installation()}"
else:
    # An editable install of another checkout lends its _C to this one, whose calls may differ.
    if other := _paths.foreign(_C):
        _C, _IMPORT_ERROR = None, other

BACKENDS = ("native", "reference")

_STRICT = os.environ.get("FCOS_OPS_STRICT") == "1"
_warned: set[str] = set()


def _checked_backend(name: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {BACKENDS}, got {name!r}")
    return name


# The library reads it by itself, and takes a word that it does not know for no limit.
if os.environ.get("FCOS_OPS_ISA", "baseline") not in ("baseline", "avx2"):
    raise ValueError(f"FCOS_OPS_ISA must be baseline or avx2, got {os.environ['FCOS_OPS_ISA']!r}")

_DEFAULT_BACKEND = _checked_backend(os.environ.get("FCOS_OPS_BACKEND", "native"))
_backend = _DEFAULT_BACKEND  # a plain global, so that torch.compile can guard on it


class _Block:
    """An open `with backend(...)` block."""

    def __init__(self, name: str) -> None:
        self.name = name


_open_blocks: list[_Block] = []  # in the order of opening
# A thread that holds it may be told to close another block: a generator's, found by the collector.
_blocks_lock = threading.RLock()


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Runs every op on one backend while the context is open, in all threads.

    Where several blocks are open, whichever threads opened them, the one opened last decides;
    when none is, the default does.

    Args:
        name: "native" (the C++ library; the default where it was built) or "reference"
            (plain PyTorch). The environment variable FCOS_OPS_BACKEND sets the default.

    Raises:
        ValueError: another name.
    """
    block = _Block(_checked_backend(name))
    with _blocks_lock:
        _open_blocks.append(block)
        _choose_backend()
    try:
        yield
    finally:
        with _blocks_lock:
            _open_blocks.remove(block)
            _choose_backend()


def _choose_backend() -> None:
    global _backend
    _backend = _open_blocks[-1].name if _open_blocks else _DEFAULT_BACKEND


def unavailable_reason(device_type: str) -> str | None:
    """Why the native library cannot run on "cpu" or "cuda", or None where it can."""
    if _C is None:
        return f"the native library could not be imported ({_IMPORT_ERROR})"
    if device_type == "cuda" and not _C.build_info()["cuda"]:
        return f"it was built without CUDA ({_C.build_info()['cuda_reason']})"
    return None


# On device "meta" there is nothing to compute: the op's fake kernel gives the shapes.
_UNAVAILABLE = {"meta": None, "cpu": unavailable_reason("cpu"), "cuda": unavailable_reason("cuda")}


def enabled(op: str, tensor: Tensor) -> bool:
    """Whether `op` shall run natively on the device of `tensor`.

    Where the backend is "native" but cannot run there, the reference takes over after one warning
    per op, or, with FCOS_OPS_STRICT=1, a RuntimeError is raised.
    """
    if _backend == "reference":
        return tensor.is_meta  # the fake kernel gives the shapes
    if tensor.is_cpu and _UNAVAILABLE["cpu"] is None:
        return True
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


_CPU_DEVICE = _constants.CPU_DEVICE  # tests set another


def execution_context(tensor: Tensor) -> tuple[int, int, int]:
    """(device, stream, threads): where and how the native library works on `tensor`.

    On a GPU that is torch's current stream there, on which outputs and workspace are allocated too.
    The library sets the CUDA device around its launches and restores it.
    """
    if tensor.is_cpu:
        return _CPU_DEVICE, 0, torch.get_num_threads()
    if not tensor.is_cuda:
        raise BufferError(f"fcos_ops has no kernels for device {tensor.device}")
    index = tensor.get_device()
    return index, torch._C._cuda_getCurrentRawStream(index), 1


def call(name: str, device_of: Tensor, *arguments: Any) -> None:
    """Calls a function of the native library on the device of a tensor.

    Tensors are passed as they are: the argument tuple keeps them alive until the function returns,
    temporaries included. The function reads their sizes and checks them. A workspace is allocated
    where it asks for one.

    Raises:
        TypeError, ValueError: a tensor, number or word is not as the op needs it.
        BufferError: the elements of a tensor do not lie in its memory. torch's dispatcher resolves
            some such tensors on the way to a kernel.
    """
    context = execution_context(device_of)
    function = getattr(_C, name, None)
    if function is None:
        raise RuntimeError(f"fcos_ops.{name} cannot run: {unavailable_reason('cpu')}")
    function(*arguments, *context, _workspace)


def _workspace(size: int, device_of: Tensor) -> Tensor:
    """Called by a function of the native library that needs one, with its first tensor."""
    return torch.empty(size, dtype=torch.uint8, device=device_of.device)


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """The dtype of the maths: float64 where one of the tensors is float64, else float32."""
    for tensor in tensors:
        if tensor.dtype is torch.float64:
            return torch.float64
    return torch.float32
