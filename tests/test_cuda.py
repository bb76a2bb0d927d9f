"""What only a GPU can show of the CUDA kernels: that a graph captures them (so nothing in them
waits, allocates or reads back) and that other streams and devices are respected."""

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import fcos_ops
from tests import devices, gpu_cases
from tests.gpu_cases import BFLOAT16, CASES, EVERY_CASE
from tests.repository import REPOSITORY

needs_gpu = pytest.mark.skipif(
    devices.missing_reason("cuda") is not None, reason=str(devices.missing_reason("cuda"))
)
# What an op may not do: wait for the device, read back, allocate, or add floats in any order.
FORBIDDEN = re.compile(
    r"cuda(Device|Stream|Event)Synchronize|cudaMemcpy|cudaMalloc|cudaFree|cudaGetDeviceProperties"
    r"|atomicAdd\((?:float|double)|\bnew\b|\bmalloc\b|\bthrow\b"
)


def test_kernels_never_wait_allocate_or_read_back() -> None:
    sources = [*Path(REPOSITORY, "csrc/cuda").rglob("*.*")]
    assert sources
    for path in sources:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            code = line.split("//")[0]
            assert not FORBIDDEN.search(code), f"{path.name}:{number}: {line}"


@pytest.mark.every_device
def test_every_op_agrees_with_the_reference() -> None:
    for case in [*CASES.values(), *BFLOAT16.values()]:
        inputs = case.make(0)
        expected = case.run(fcos_ops.reference, *inputs)
        gpu_cases.assert_agree(case, case.run(fcos_ops, *inputs), expected)


@pytest.mark.every_device
def test_simt_runs_kernels(device: str) -> None:
    """Else everything that runs "on simt" would compare the CPU library with itself."""
    if device == "simt":
        before = devices.simt_launches()
        fcos_ops.centerness_target(torch.rand(10, 4))
        assert devices.simt_launches() == before + 1


# Kernels and memsets of one call, with its backward pass where it has one: one launch, which asks
# whether there is something to multiply. 200 boxes or locations are summed by one block.
LAUNCHES = {
    "sigmoid_focal_loss": 3,
    "assign_targets": 2,
    "iou_loss": 2,
    "centerness_target": 1,
    "centerness_loss": 2,
    "fcos_loss": 5,  # assignment two, the losses two, the backward pass one
    "group_norm": 7,  # by rows two forward and three backward, in planes one each
    "nms_padded": 4,
    "postprocess": 5,
}


def test_numbers_of_launches() -> None:
    assert LAUNCHES.keys() == CASES.keys()
    with devices.running_on("simt"):
        for name, case in CASES.items():
            inputs = case.make(0)
            before = devices.simt_launches()
            case.run(fcos_ops, *inputs)
            assert devices.simt_launches() - before == LAUNCHES[name], name


def test_launches_of_the_loss_forward_and_backward() -> None:
    with devices.running_on("simt"):
        heads, truth = CASES["fcos_loss"].make(0)[:3], CASES["fcos_loss"].make(0)[3:]
        maps = [[x.detach().requires_grad_() for x in head] for head in heads]
        before = devices.simt_launches()
        losses = fcos_ops.fcos_loss(*maps, *truth, levels=gpu_cases.LEVELS, rule=gpu_cases.RULE)
        forward = devices.simt_launches() - before
        torch.autograd.grad(losses[0] + losses[1] + losses[2], [x for head in maps for x in head])
        assert (forward, devices.simt_launches() - before - forward) == (4, 1)


@needs_gpu
@pytest.mark.parametrize("name", EVERY_CASE)
def test_graph_replays_with_other_inputs(name: str) -> None:
    case = EVERY_CASE[name]
    with torch.device("cuda"):
        inputs = case.make(0)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            case.run(fcos_ops, *inputs)  # loads the kernels, which capturing forbids
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = case.run(fcos_ops, *inputs)
        for seed in (1, 2):
            others = case.make(seed)
            for tensor, other in zip(
                gpu_cases.flatten(inputs), gpu_cases.flatten(others), strict=True
            ):
                tensor.copy_(other)
            graph.replay()
            torch.cuda.synchronize()
            gpu_cases.assert_agree(case, captured, case.run(fcos_ops.reference, *others))


@needs_gpu
@pytest.mark.parametrize("name", EVERY_CASE)
def test_nothing_waits_for_the_device(name: str) -> None:
    case = EVERY_CASE[name]
    with torch.device("cuda"):
        inputs = case.make(0)
        case.run(fcos_ops, *inputs)
        torch.cuda.set_sync_debug_mode("error")
        try:
            case.run(fcos_ops, *inputs)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@needs_gpu
@pytest.mark.parametrize("name", EVERY_CASE)
def test_two_runs_give_the_same_bits(name: str) -> None:
    case = EVERY_CASE[name]
    with torch.device("cuda"):
        inputs = case.make(0)
        first, second = (gpu_cases.flatten(case.run(fcos_ops, *inputs)) for _ in range(2))
        for a, b in zip(first, second, strict=True):
            assert torch.equal(a, b)


@needs_gpu
def test_current_stream_is_used() -> None:
    """A long wait on the stream comes first; on another stream the kernel would overtake it."""
    with torch.device("cuda"):
        logits = torch.zeros(1000, 80)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            torch.cuda._sleep(50_000_000)
            logits.fill_(3.0)
            loss = fcos_ops.sigmoid_focal_loss(logits, torch.full((1000,), -1))
        stream.synchronize()
        expected = fcos_ops.reference.sigmoid_focal_loss(logits, torch.full((1000,), -1))
        torch.testing.assert_close(loss, expected)


def _at_once(first: Callable[[], Any], second: Callable[[], Any]) -> list[Any]:
    """What two functions return that run in two threads, begun together."""
    results: list[Any] = [None, None]
    barrier = threading.Barrier(2)

    def run(i: int, function: Callable[[], Any]) -> None:
        barrier.wait()
        results[i] = function()

    threads = [
        threading.Thread(target=run, args=(i, function))
        for i, function in enumerate((first, second))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def _assert_same_bits(actual: Any, expected: Any) -> None:
    for a, b in zip(gpu_cases.flatten(actual), gpu_cases.flatten(expected), strict=True):
        assert torch.equal(a, b)


@pytest.mark.every_device
@pytest.mark.parametrize("name", CASES)
def test_two_threads_at_once(name: str, device: str) -> None:
    """On a stream each. What blocks count for each other is a call's own, so nothing mixes."""
    case, calls = CASES[name], 20 if device == "cuda" else 2
    inputs = [case.make(seed) for seed in (0, 1)]
    expected = [case.run(fcos_ops, *of_one) for of_one in inputs]

    def repeated(of_one: Any) -> list[Any]:
        if device != "cuda":
            return [case.run(fcos_ops, *of_one) for _ in range(calls)]
        stream = torch.cuda.Stream()
        with torch.device("cuda"), torch.cuda.stream(stream):
            found = [case.run(fcos_ops, *of_one) for _ in range(calls)]
        stream.synchronize()
        return found

    if device == "cuda":
        torch.cuda.synchronize()
    found = _at_once(lambda: repeated(inputs[0]), lambda: repeated(inputs[1]))
    for of_one, of_one_alone in zip(found, expected, strict=True):
        assert of_one is not None and len(of_one) == calls
        for result in of_one:
            _assert_same_bits(result, of_one_alone)


@needs_gpu
@pytest.mark.parametrize("name", EVERY_CASE)
def test_two_graphs_replayed_at_once(name: str) -> None:
    case = EVERY_CASE[name]
    with torch.device("cuda"):
        inputs = [case.make(seed) for seed in (0, 1)]
        expected = [case.run(fcos_ops, *of_one) for of_one in inputs]
        torch.cuda.synchronize()
        graphs = [torch.cuda.CUDAGraph() for _ in inputs]
        captured = []
        for graph, of_one in zip(graphs, inputs, strict=True):
            with torch.cuda.graph(graph):  # with a pool of its own
                captured.append(case.run(fcos_ops, *of_one))
        streams = [torch.cuda.Stream() for _ in graphs]
        for _ in range(20):
            for graph, stream in zip(graphs, streams, strict=True):
                with torch.cuda.stream(stream):
                    graph.replay()
        torch.cuda.synchronize()
        for result, of_one_alone in zip(captured, expected, strict=True):
            _assert_same_bits(result, of_one_alone)
