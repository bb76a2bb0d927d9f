"""The backend switch, the fallback where the library is missing, and what a bug report shows."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import fcos_ops
from fcos_ops import _native

# Makes the native library impossible to import, as on a machine that could not build it.
WITHOUT_LIBRARY = "import sys; sys.modules['fcos_ops._C'] = None\n"
USE = """
import torch, fcos_ops
logits, labels = torch.zeros(3, 2), torch.tensor([0, -1, -2])
for _ in range(2):
    print(float(fcos_ops.sigmoid_focal_loss(logits, labels)))
print(fcos_ops.nms(torch.tensor([[0., 0, 1, 1]]), torch.ones(1), 0.5).tolist())
"""


needs_library = pytest.mark.skipif(
    fcos_ops.build_info()["backend"] == "reference",
    reason="the native library was not built, and this tests it",
)


def run_python(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        cwd=os.path.dirname(os.path.dirname(fcos_ops.__file__)),
    )


def test_without_the_library_everything_runs_with_one_warning_an_op() -> None:
    result = run_python(WITHOUT_LIBRARY + USE)
    assert result.returncode == 0, result.stderr
    losses = result.stdout.split()
    assert losses[0] == losses[1] and losses[2] == "[0]"
    for op in ("sigmoid_focal_loss", "nms"):
        assert result.stderr.count(f"fcos_ops.{op} has no native kernel for cpu") == 1
    assert "could not be imported" in result.stderr


def test_strict_turns_the_fallback_into_an_error() -> None:
    result = run_python(WITHOUT_LIBRARY + USE, FCOS_OPS_STRICT="1")
    assert result.returncode != 0
    assert "RuntimeError: fcos_ops.sigmoid_focal_loss has no native kernel" in result.stderr


def test_backend_asked_for_by_name_does_not_warn() -> None:
    result = run_python(USE, FCOS_OPS_BACKEND="reference", PYTHONWARNINGS="error")
    assert result.returncode == 0, result.stderr


def test_unknown_backend() -> None:
    with pytest.raises(ValueError, match="backend must be one of"):
        with fcos_ops.backend("cuda"):
            pass
    result = run_python("import fcos_ops", FCOS_OPS_BACKEND="fast")
    assert "backend must be one of" in result.stderr


def test_backend_is_restored_after_an_error() -> None:
    before = fcos_ops.build_info()["backend"]
    with pytest.raises(KeyError):
        with fcos_ops.backend("reference"):
            assert fcos_ops.build_info()["backend"] == "reference"
            raise KeyError
    assert fcos_ops.build_info()["backend"] == before


def test_the_block_opened_last_decides() -> None:
    """Also where blocks end in another order than the reverse of that in which they began."""
    asked = ("reference", "native", "reference")
    before = fcos_ops.build_info()["backend"]
    blocks, seen = [ExitStack() for _ in asked], []
    for block, name in zip(blocks, asked, strict=True):
        block.enter_context(fcos_ops.backend(name))
        seen.append(fcos_ops.build_info()["backend"])
    for index in (2, 0, 1):
        blocks[index].close()
        seen.append(fcos_ops.build_info()["backend"])
    assert seen == [*asked, "native", "native", before]


def test_a_block_may_end_while_another_begins() -> None:
    """As where the garbage collector finds a generator with an open block."""
    result = run_python(
        "import contextlib, faulthandler, fcos_ops\n"
        "from fcos_ops import _native\n"
        "faulthandler.dump_traceback_later(60, exit=True)  # a lock that is waited for\n"
        "stack = contextlib.ExitStack()\n"
        "stack.enter_context(fcos_ops.backend('reference'))\n"
        "with _native._blocks_lock:\n"
        "    stack.close()\n"
        "print(fcos_ops.build_info()['backend'])\n",
        FCOS_OPS_BACKEND="native",
    )
    assert result.stdout == "native\n", result.stderr


def test_blocks_of_two_threads_may_interleave() -> None:
    """The block opened last decides, and when all are closed nothing is left of them."""
    before = fcos_ops.build_info()["backend"]
    first_open, second_open, first_closed = (threading.Event() for _ in range(3))
    seen = []

    def first() -> None:
        with fcos_ops.backend("reference"):
            first_open.set()
            second_open.wait(60)
        first_closed.set()

    def second() -> None:
        first_open.wait(60)
        with fcos_ops.backend("native"):
            second_open.set()
            first_closed.wait(60)
            seen.append(fcos_ops.build_info()["backend"])

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["native"]
    assert fcos_ops.build_info()["backend"] == before


class _Wrapped(torch.Tensor):
    """A subclass that wants to see every op of the library."""

    seen: list[str] = []
    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "_Wrapped":
        self = torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)
        self.inner = inner
        return self

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.seen.append(func.name())
        plain = torch.utils._pytree.tree_map_only(cls, lambda t: t.inner, args)
        return func(*plain, **(kwargs or {}))


@needs_library
@pytest.mark.parametrize("position", [0, 1])
def test_a_tensor_subclass_in_any_argument_sees_the_op(position: int) -> None:
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0]])
    pair: list[torch.Tensor] = [boxes, boxes]
    pair[position] = _Wrapped(boxes)
    _Wrapped.seen.clear()
    assert fcos_ops.iou_loss(pair[0], pair[1]).item() == 0.0
    assert "fcos_ops::iou_loss" in _Wrapped.seen


@needs_library
def test_a_tensor_subclass_inside_a_list_sees_the_op() -> None:
    heads = [[torch.zeros(1, channels, 1, 1)] for channels in (1, 4, 1)]
    heads[1][0] = _Wrapped(heads[1][0])
    _Wrapped.seen.clear()
    level = fcos_ops.Level(1, 1, 8, 8, 8.0, -1.0, 64.0)
    fcos_ops.postprocess(*heads, torch.tensor([[8, 8]]), levels=[level])
    assert "fcos_ops::postprocess" in _Wrapped.seen


@pytest.mark.parametrize("normalizer", [None, torch.ones(())])
def test_the_floor_of_a_normalizer_is_checked_with_and_without_one(
    normalizer: torch.Tensor | None,
) -> None:
    boxes = torch.zeros(2, 4)
    options: dict[str, Any] = {"normalizer": normalizer, "normalizer_floor": -1.0}
    for call in (
        lambda: fcos_ops.iou_loss(boxes, boxes, **options),
        lambda: fcos_ops.centerness_loss(boxes, boxes, **options),
        lambda: fcos_ops.sigmoid_focal_loss(boxes, boxes, **options),
    ):
        with pytest.raises(ValueError, match="normalizer_floor must be in"):
            call()


def test_python_dash_m_prints_build_info() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "fcos_ops"],
        capture_output=True,
        text=True,
        cwd=os.path.dirname(os.path.dirname(fcos_ops.__file__)),
    )
    info = json.loads(result.stdout)
    assert info["torch"] == torch.__version__
    assert "cuda_reason" in info or not info["native"]


def test_import_needs_no_torchvision_and_no_gpu() -> None:
    script = "import sys, fcos_ops; print('torchvision' in sys.modules, 'triton' in sys.modules)"
    result = run_python(script, CUDA_VISIBLE_DEVICES="")
    assert result.stdout.split() == ["False", "False"], result.stderr


class _Shapes(torch.utils.data.Dataset):
    """Runs the ops inside a worker process."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        logits = torch.full((300, 20), float(index))
        return fcos_ops.sigmoid_focal_loss(logits, torch.full((300,), -1))


def test_forked_workers_finish() -> None:
    """After the parent has run OpenMP regions of its own."""
    torch.set_num_threads(2)
    logits = torch.randn(5000, 20)
    fcos_ops.sigmoid_focal_loss(logits, torch.full((5000,), -1))
    loader = torch.utils.data.DataLoader(
        _Shapes(), batch_size=2, num_workers=2, multiprocessing_context="fork", timeout=60
    )
    values = torch.cat(list(loader))
    assert values.shape == (8,) and values.isfinite().all()
    assert (values.diff() > 0).all()


def test_python_threads_run_ops_at_once() -> None:
    inputs = [torch.randn(2000, 20) for _ in range(4)]
    labels = torch.randint(-1, 20, (2000,))
    expected = [fcos_ops.sigmoid_focal_loss(x, labels) for x in inputs]
    results: list[list[torch.Tensor]] = [[] for _ in inputs]

    def work(index: int) -> None:
        for _ in range(20):
            results[index].append(fcos_ops.sigmoid_focal_loss(inputs[index], labels))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for got, wanted in zip(results, expected, strict=True):
        assert len(got) == 20 and all(torch.equal(value, wanted) for value in got)


def test_a_device_without_kernels_falls_back_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(_native._UNAVAILABLE, "cuda", None)
    monkeypatch.setattr(_native, "_backend", "native")
    monkeypatch.setattr(_native, "_warned", set())
    elsewhere: Any = SimpleNamespace(is_cpu=False, device=torch.device("xpu", 0))
    with pytest.warns(RuntimeWarning, match="fcos_loss has no native kernel for xpu: it has no"):
        assert not _native.enabled("fcos_loss", elsewhere)
    on_gpu: Any = SimpleNamespace(is_cpu=False, device=torch.device("cuda", 0))
    assert _native.enabled("fcos_loss", on_gpu)


DEVICE = 12345


class _OtherModule:
    """Stands in for fcos_ops._C: notes what is called for DEVICE, and runs it on the CPU."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.called: set[str] = set()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def function(*arguments: Any) -> Any:
            *others, device, stream, threads, workspace = arguments
            assert device == DEVICE, (name, arguments)
            self.called.add(name)
            return getattr(self.module, name)(*others, -1, stream, threads, workspace)

        return function


@needs_library
def test_every_native_call_goes_through_the_module_and_names_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the tests rely on that run the CUDA kernels on the host."""
    other = _OtherModule(_native._C)
    monkeypatch.setattr(_native, "_C", other)
    monkeypatch.setattr(_native, "_CPU_DEVICE", DEVICE)
    boxes, scores = torch.tensor([[0.0, 0.0, 8.0, 8.0]], requires_grad=True), torch.ones(1)
    half = torch.zeros(1, 1, dtype=torch.float16, requires_grad=True)
    labels, offsets = torch.zeros(1, dtype=torch.long), torch.tensor([0, 1])
    level = fcos_ops.Level(1, 1, 8, 8, 8.0, -1.0, 64.0)
    heads = [[torch.zeros(1, channels, 1, 1)] for channels in (1, 4, 1)]

    fcos_ops.sigmoid_focal_loss(half, labels).backward()
    fcos_ops.iou_loss(boxes, boxes.detach()).backward()
    fcos_ops.centerness_loss(half[0], scores).backward()
    map_ = torch.zeros(1, 2, 1, 1, requires_grad=True)
    fcos_ops.group_norm(map_, torch.ones(2), torch.ones(2), groups=1).sum().backward()
    boxes = boxes.detach()
    fcos_ops.centerness_target(boxes)
    fcos_ops.assign_targets([level], boxes, labels, offsets)
    fcos_ops.nms(boxes, scores, 0.5)
    fcos_ops.batched_nms(boxes, scores, labels, 0.5)
    limits = {"iou_threshold": 0.5, "score_threshold": None, "max_detections": 1}
    fcos_ops.nms_padded(boxes, scores, labels, offsets, **limits)
    fcos_ops.postprocess(*heads, torch.tensor([[8, 8]]), levels=[level])
    heads[0][0].requires_grad_()
    losses = fcos_ops.fcos_loss(*heads, boxes, labels, offsets, levels=[level])
    losses.classification.backward()

    ops = {name for name in dir(other.module) if not name.startswith("_")} - {"build_info"}
    assert other.called == ops


@needs_library
def test_a_native_error_is_raised_with_its_code() -> None:
    """A positive code is a CUDA error; any code comes with the message."""
    device = 0  # a GPU that this build or machine lacks
    with pytest.raises(RuntimeError, match=r"centerness_target: .* \(status -?\d+\)"):
        _native._C.centerness_target(torch.ones(0, 4), torch.ones(0), device, 0, 1, None)
