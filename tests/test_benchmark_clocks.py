"""The clocks of a GPU, and what is said of it, where there is none."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import gpu


def test_state_of_a_gpu() -> None:
    line = "301.50, 700.00, 1980, 1980, 3201, [N/A]"
    assert gpu.parse_state(line) == {
        "power.draw [W]": 301.5,
        "power.limit [W]": 700.0,
        "clocks.sm [MHz]": 1980.0,
        "clocks.max.sm [MHz]": 1980.0,
        "clocks.mem [MHz]": 3201.0,
        "temperature.gpu [C]": None,
    }


def test_query_keeps_the_device_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    calls: list[int] = []
    assert gpu.query("driver_version", lambda: calls.append(1)) == "" and not calls
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nsleep 0.2\necho $1\necho the second GPU\n")
    tool.chmod(0o755)
    found = gpu.query("driver_version", lambda: calls.append(1))
    assert found == "--query-gpu=driver_version" and calls


class FakeGenerator:
    def __init__(self, device: str = "") -> None:
        self.state = object()

    def graphsafe_get_state(self) -> Any:
        return SimpleNamespace(state=self.state)

    def graphsafe_set_state(self, other: Any) -> None:
        self.state = other.state


def fake_torch(fails: bool) -> Any:
    """As much of torch as a capture needs. `log` is what happened."""
    default, log = FakeGenerator(), []
    kept = default.state

    @contextmanager
    def graph(graph: Any, stream: Any) -> Iterator[None]:
        log.append("default state" if default.state is kept else "own state")
        yield
        if fails:  # as the end of the capture does, after what the function raised
            raise RuntimeError("operation failed due to a previous error during capture")

    def stream() -> Any:
        return SimpleNamespace(wait_stream=lambda other: None)

    cuda = SimpleNamespace(
        Stream=stream,
        current_stream=stream,
        stream=lambda stream: nullcontext(),
        synchronize=lambda: None,
        CUDAGraph=lambda: SimpleNamespace(replay=lambda: log.append("replay")),
        graph=graph,
        default_generators=[default],
        current_device=lambda: 0,
        Event=lambda enable_timing: SimpleNamespace(
            record=lambda: log.append("record"),
            synchronize=lambda: None,
            elapsed_time=lambda end: 40.0,
        ),
    )
    return SimpleNamespace(
        cuda=cuda,
        Generator=FakeGenerator,
        uint8=None,
        empty=lambda *a, **k: SimpleNamespace(zero_=lambda: log.append("flush")),
        log=log,
        restored=lambda: default.state is kept,
    )


def test_clocks_of_a_gpu_keep_its_queue_full(monkeypatch: pytest.MonkeyPatch) -> None:
    torch_ = fake_torch(fails=False)
    monkeypatch.setattr(gpu, "torch", torch_)
    function = lambda: torch_.log.append("call")  # noqa: E731
    hot = gpu.Hot(function, True)
    assert torch_.log == ["call"] * 3 + ["own state"] + ["call"] * gpu.HOT_CALLS
    assert torch_.restored() and hot.captured
    torch_.log.clear()
    assert hot() == pytest.approx(40e-3 / gpu.HOT_CALLS)
    assert torch_.log == ["replay", "record", "replay", "record"]
    cold = gpu.Cold(function, True)
    torch_.log.clear()
    assert cold() == pytest.approx(40e-3)
    assert torch_.log == ["flush", "flush", "record", "replay", "record"]


def test_what_waits_is_not_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    torch_ = fake_torch(fails=False)
    monkeypatch.setattr(gpu, "torch", torch_)
    clock = gpu.Hot(lambda: torch_.log.append("call"), False)
    assert not clock.captured and torch_.log == []
    assert clock() == pytest.approx(40e-3)
    assert torch_.log == ["call", "record", "call", "record"]


def test_a_capture_that_fails_leaves_the_generator_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch_ = fake_torch(fails=True)
    monkeypatch.setattr(gpu, "torch", torch_)
    monkeypatch.setattr(gpu, "_failed_graphs", [])
    clock = gpu.Cold(lambda: torch_.log.append("call"), True)
    assert torch_.restored() and not clock.captured and len(gpu._failed_graphs) == 1
    assert "timed without capture: operation failed" in capsys.readouterr().out
    torch_.log.clear()
    clock()
    assert torch_.log == ["flush", "flush", "record", "call", "record"]
