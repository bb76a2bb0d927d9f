"""Runs calls in a process of their own, and says which one it is about to run."""

import gc
import json
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch._dynamo  # noqa: F401  what torch imports at need, once here and not in every worker
import torch._meta_registrations
import torch.nested._internal.ops  # noqa: F401
from torch._decomp import decompositions_for_jvp  # noqa: F401

from tests.hostile import plant
from tests.hostile.calls import Call
from tests.hostile.cases import draw_case
from tests.hostile.findings import Finding, unexplained

# Kinds of calls that may leave a damaged process behind.
ALONE = ("direct", "library", "user_code")


class Limits(NamedTuple):
    """Of a call: seconds; of the process it runs in: bytes of address space."""

    seconds: int = 30
    memory: int = 4 << 30


class Outcome(NamedTuple):
    index: int
    kind: str
    function: str
    findings: list[Finding]


def perform(seed: int, index: int, planted: bool, announce: Callable[[str, Call], None]) -> Outcome:
    """Draws, announces, runs and judges one call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind, (call, judge) = draw_case(seed, index)
        announce(kind, call)
        if planted:
            plant.install(index)
        try:
            findings = unexplained(call, judge())
        finally:
            plant.remove()
    return Outcome(index, kind, call.function, findings)


def serve(pipe: int, seed: int, indices: Sequence[int], limits: Limits, planted: bool) -> None:
    """Performs the calls, with a line to `pipe` before and behind each; does not return. A call
    that takes too long ends the process by the signal's own action, native code or not."""
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    devnull = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(devnull, stream)
    torch.set_num_interop_threads(1)
    with os.fdopen(pipe, "w", buffering=1) as out:
        for index in indices:

            def announce(kind: str, call: Call | None, index: int = index) -> None:
                function = "?" if call is None else call.function
                print(json.dumps({"at": [index, kind, function]}), file=out)

            announce("?", None)
            signal.alarm(limits.seconds)
            try:
                outcome = perform(seed, index, planted, announce)
            except BaseException as error:  # a fault of the generator: it must show
                finding = Finding(
                    "error of the generator", f"{type(error).__name__}: {error}"[:400]
                )
                outcome = Outcome(index, "generator", _where(error), [finding])
            if outcome.kind in ALONE:
                _probe_heap()
            signal.alarm(0)
            print(json.dumps(outcome), file=out)
            if outcome.kind in ALONE:
                break
    os._exit(0)


def _probe_heap() -> None:
    """Makes what was written past its end show now, and not in a call that did nothing wrong."""
    gc.collect()
    for size in (1, 7, 100, 1000, 5000):
        torch.empty(size)


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (
        ""
        if trace is None
        else f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
    )


def show(seed: int, index: int, planted: bool) -> int:
    """Prints one call, runs it here and now, and prints what is wrong with it."""
    outcome = perform(seed, index, planted, lambda _, call: print(call, flush=True))
    for finding in outcome.findings:
        print(f"{finding.kind}: {finding.detail}")
    print(f"{len(outcome.findings)} findings", file=sys.stderr)
    return 1 if outcome.findings else 0
