"""Starts workers, watches them, starts others behind a call that took one along, and sums up."""

import gc
import json
import os
import selectors
import signal
import sys
import time
from collections import defaultdict
from typing import TextIO

from tests.hostile import worker
from tests.hostile.findings import CRASH, HANG, KINDS, Finding
from tests.hostile.worker import Limits, Outcome

CALLS_A_WORKER = 500  # then another one takes over: what leaks does not add up
GRACE = 10  # seconds that a worker has beyond its own alarm
EVERY = 10  # seconds between lines of progress


class Lane:
    """The calls of one job, and the worker that runs them now."""

    def __init__(self, seed: int, indices: list[int], limits: Limits, planted: bool) -> None:
        self.seed, self.limits, self.planted = seed, limits, planted
        self.left = indices
        self.outcomes: list[Outcome] = []
        self.start()

    def start(self) -> None:
        reading, writing = os.pipe()
        self.at: tuple[int, str, str] | None = None  # number, kind and function
        self.heard = time.monotonic()
        self.buffer = b""
        self.first = self.left[0]
        sys.stdout.flush()
        self.process = os.fork()  # safe: this process runs no op, so it has no pool of threads
        if self.process == 0:
            os.close(reading)
            chunk = self.left[:CALLS_A_WORKER]
            worker.serve(writing, self.seed, chunk, self.limits, self.planted)
        os.close(writing)
        self.pipe = reading

    def hear(self) -> bool:
        """Takes in what the worker wrote; False once it has ended."""
        data = os.read(self.pipe, 1 << 16)
        self.heard = time.monotonic()
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            if isinstance(said, dict):
                self.at = tuple(said["at"])
                continue
            index, kind, function, findings = said
            self.outcomes.append(Outcome(index, kind, function, [Finding(*f) for f in findings]))
            self.left.remove(index)
            self.at = None
        return bool(data)

    def end(self) -> None:
        """Buries the worker; the call that it was at is what it died of."""
        os.close(self.pipe)
        _, status = os.waitpid(self.process, 0)
        if self.at is not None:
            code = os.waitstatus_to_exitcode(status)
            killed = -code in (signal.SIGALRM, signal.SIGKILL)
            cause = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            finding = Finding(HANG if killed else CRASH, f"{cause}, worker begun at {self.first}")
            self.outcomes.append(Outcome(*self.at, [finding]))
            self.left.remove(self.at[0])

    def watch(self) -> None:
        if time.monotonic() - self.heard > self.limits.seconds + GRACE:
            os.kill(self.process, signal.SIGKILL)


def run(count: int, seed: int, jobs: int, limits: Limits, planted: bool) -> list[Outcome]:
    """The outcomes of calls 0 to count - 1, by number."""
    gc.freeze()  # what was imported is garbage in no worker
    started = shown = time.monotonic()
    indices = [list(range(job, count, jobs)) for job in range(jobs)]
    lanes = [Lane(seed, part, limits, planted) for part in indices if part]
    with selectors.DefaultSelector() as selector:
        for lane in lanes:
            selector.register(lane.pipe, selectors.EVENT_READ, lane)
        while selector.get_map():
            for key, _ in selector.select(1.0):
                lane = key.data
                if lane.hear():
                    continue
                selector.unregister(key.fd)
                lane.end()
                if lane.left:
                    lane.start()
                    selector.register(lane.pipe, selectors.EVENT_READ, lane)
            for key in list(selector.get_map().values()):
                key.data.watch()
            if time.monotonic() - shown > EVERY:
                shown = time.monotonic()
                _progress([o for lane in lanes for o in lane.outcomes], count, shown - started)
    return sorted(outcome for lane in lanes for outcome in lane.outcomes)


def _progress(outcomes: list[Outcome], count: int, seconds: float) -> None:
    found = sum(1 for outcome in outcomes if outcome.findings)
    rate = len(outcomes) / seconds
    print(f"{len(outcomes)}/{count} calls, {found} with findings, {rate:.0f} calls/s", flush=True)


def summarise(outcomes: list[Outcome], seed: int, show: int, out: TextIO) -> bool:
    """Prints counts, and the first findings of each sort with the line that shows the call again;
    whether there were none."""
    groups: dict[tuple[str, str, str], list[tuple[Outcome, Finding]]] = defaultdict(list)
    counts: dict[str, int] = dict.fromkeys(KINDS, 0)
    for outcome in outcomes:
        for finding in outcome.findings:
            counts[finding.kind] = counts.get(finding.kind, 0) + 1
            groups[finding.kind, outcome.kind, outcome.function].append((outcome, finding))
    for (what, kind, function), members in sorted(groups.items()):
        print(f"\n{what} in {kind} calls of {function}: {len(members)}", file=out)
        for outcome, finding in members[:show]:
            print(f"  {finding.detail}", file=out)
            print(f"    python -m tests.hostile --seed {seed} --only {outcome.index}", file=out)
    clean = sum(1 for outcome in outcomes if not outcome.findings)
    print(f"\n{len(outcomes)} calls, {clean} of them ok", file=out)
    for what, number in counts.items():
        print(f"{what}: {number}", file=out)
    return clean == len(outcomes)
