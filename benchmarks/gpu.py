"""Timing on a GPU: the time of the device, by events around the replay of a captured graph, so that
the host's share is not in it; with a warm and with a flushed second-level cache."""

import subprocess
from collections.abc import Callable
from typing import Any

import torch

FLUSH_BYTES = 256 * 2**20  # several times the second-level cache of any GPU


class DeviceClock:
    """Seconds of the device for one call of a function.

    What reads from the device cannot be captured; it is run as it is, and the gaps in which the
    device waits for the host count too (`captured` is False then).
    """

    def __init__(self, function: Callable[[], Any], flush: torch.Tensor | None) -> None:
        self.flush = flush
        self.launch, self.captured = _captured(function)
        self.start = torch.cuda.Event(enable_timing=True)
        self.end = torch.cuda.Event(enable_timing=True)

    def __call__(self) -> float:
        if self.flush is not None:
            self.flush.zero_()
        self.start.record()
        self.launch()
        self.end.record()
        self.end.synchronize()
        return self.start.elapsed_time(self.end) * 1e-3


def _captured(function: Callable[[], Any]) -> tuple[Callable[[], Any], bool]:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # lazy loading of kernels is not allowed while capturing
            function()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            function()
    except RuntimeError:
        torch.cuda.synchronize()
        return function, False
    return graph.replay, True


def hot(function: Callable[[], Any]) -> DeviceClock:
    return DeviceClock(function, None)


def cold(function: Callable[[], Any]) -> DeviceClock:
    return DeviceClock(function, torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda"))


def machine() -> dict[str, Any]:
    """The GPU, its driver, and the bandwidth of a copy (bytes read plus bytes written)."""
    source = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    clock = hot(lambda: target.copy_(source))
    seconds = sorted(clock() for _ in range(50))[25]
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    driver = subprocess.run(query, capture_output=True, text=True).stdout.split()
    return {
        "gpu": torch.cuda.get_device_name(),
        "driver": driver[0] if driver else None,
        "copy_gigabytes_per_second": 2 * FLUSH_BYTES / seconds / 1e9,
    }
