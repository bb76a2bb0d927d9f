"""Timing on a GPU: the time of the device, by events around the replay of a captured graph, so that
the host's share is not in it; with a warm and with a flushed second-level cache.

The device must have work when the first event is enqueued: on an idle stream, the time between two
events has the launch of the graph in it, which takes longer than a small kernel.
"""

import abc
import subprocess
from collections.abc import Callable
from typing import Any

import torch

FLUSH_BYTES = 256 * 2**20  # several times the second-level cache of any GPU
HOT_CALLS = 20  # in one graph: together they take longer than the launch of the graph
# What of the device changes from run to run, as nvidia-smi names it, and the numbers' units.
STATE = {
    "power.draw": "W",
    "power.limit": "W",
    "clocks.sm": "MHz",
    "clocks.max.sm": "MHz",
    "clocks.mem": "MHz",
    "temperature.gpu": "C",
}
# torch's allocator may still ask a graph whose capture failed.
_failed_graphs: list[torch.cuda.CUDAGraph] = []


class DeviceClock(abc.ABC):
    """Seconds of the device for one call of a function. `captured` is False where the function
    waits for the device: it is then run as it is, and the gaps in which the device waits for the
    host count too."""

    def __init__(self, function: Callable[[], Any], capture: bool, calls: int) -> None:
        graph = capture_graph(function, calls) if capture else None
        self.captured = graph is not None
        self.calls = calls if graph else 1
        self.launch = graph.replay if graph else function
        self.start = torch.cuda.Event(enable_timing=True)
        self.end = torch.cuda.Event(enable_timing=True)

    @abc.abstractmethod
    def fill_queue(self) -> None:
        """Enqueues what keeps the device busy while the call to be timed is enqueued."""

    def __call__(self) -> float:
        self.fill_queue()
        self.start.record()
        self.launch()
        self.end.record()
        self.end.synchronize()
        return self.start.elapsed_time(self.end) * 1e-3 / self.calls


class Cold(DeviceClock):
    """One call behind a write to all of the cache, twice: to keep the device busy for longer."""

    def __init__(self, function: Callable[[], Any], capture: bool) -> None:
        super().__init__(function, capture, 1)
        self.flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")

    def fill_queue(self) -> None:
        self.flush.zero_()
        self.flush.zero_()


class Hot(DeviceClock):
    """Many calls in a row, behind as many that are not timed."""

    def __init__(self, function: Callable[[], Any], capture: bool) -> None:
        super().__init__(function, capture, HOT_CALLS)

    def fill_queue(self) -> None:
        self.launch()


def capture_graph(function: Callable[[], Any], calls: int) -> torch.cuda.CUDAGraph | None:
    """A graph of so many calls; None, with a line that says so, where it cannot be captured.

    A capture that fails leaves much of torch behind as it was in its middle, and torch.cuda.graph
    leaves its stream current. torch 2.11 sets a flag in the state of the default generator when a
    capture begins, and clears it only after one that succeeded; any random number is an error until
    then. So the generator gets a state of its own for the capture.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # lazy loading of kernels is not allowed while capturing
            function()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    state = generator.graphsafe_get_state()
    generator.graphsafe_set_state(torch.Generator("cuda"))
    try:
        with torch.cuda.stream(side), torch.cuda.graph(graph, stream=side):
            for _ in range(calls):
                function()
    except RuntimeError as error:
        print(f"timed without capture: {error}", flush=True)
        _failed_graphs.append(graph)
        torch.cuda.synchronize()
        return None
    finally:
        generator.graphsafe_set_state(state)
    return graph


def parse_state(line: str) -> dict[str, float | None]:
    """A line of nvidia-smi as numbers by name and unit; None where the GPU does not say."""
    values = [text.strip() for text in line.split(",")]
    numbers = [float(v) if v.replace(".", "", 1).isdigit() else None for v in values]
    return {f"{n} [{u}]": x for (n, u), x in zip(STATE.items(), numbers, strict=True)}


def query(names: str, busy: Callable[[], Any] = lambda: None) -> str:
    """What nvidia-smi says of the first GPU, "" where there is none; `busy` is called meanwhile."""
    command = ["nvidia-smi", f"--query-gpu={names}", "--format=csv,noheader,nounits"]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        return ""
    while process.poll() is None:
        busy()
    lines = process.communicate()[0].splitlines()
    return lines[0] if process.returncode == 0 and lines else ""


class Machine:
    """The GPU as the environment block has it. Power and clocks are read while it copies, as an
    idle GPU lowers both."""

    def __init__(self) -> None:
        source = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")
        target = torch.empty_like(source)
        self.clock = Hot(lambda: target.copy_(source), capture=True)

    def describe(self) -> dict[str, Any]:
        """Name, driver, and the bandwidth of a copy (bytes read plus bytes written)."""
        seconds = sorted(self.clock() for _ in range(50))[25]
        return {
            "gpu": torch.cuda.get_device_name(),
            "driver": query("driver_version") or None,
            "copy_gigabytes_per_second": 2 * FLUSH_BYTES / seconds / 1e9,
        }

    def state(self) -> dict[str, float | None] | None:
        line = query(",".join(STATE), self.clock)
        return parse_state(line) if line else None
