"""Runs the suite: correctness first, then interleaved timings, a table, and a JSON file."""

import argparse
import datetime
import fnmatch
import importlib
import json
import os
import platform
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

import fcos_ops
from benchmarks import gpu, reports
from benchmarks.contenders import torchvision_ops
from benchmarks.harness import COPY, OURS, Case, Timing, WallClock, check, run, with_copy

OPS = (
    "focal_loss",
    "assign_targets",
    "iou_loss",
    "centerness",
    "fcos_loss",
    "group_norm",
    "nms",
    "postprocess",
    "calls",
)


# How each device is timed: "wall" has the host's time in it, the others have the GPU's alone.
CLOCKS = {"cpu": {"wall": WallClock}, "cuda": {"cold L2": gpu.Cold, "hot L2": gpu.Hot}}


def machine(gpu_fields: dict[str, Any]) -> dict[str, Any]:
    """What a reader needs to judge the figures."""
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        **gpu_fields,
        "threads": torch.get_num_threads(),
        "build_info": fcos_ops.build_info(),
        "torchvision": None if torchvision_ops is None else _version("torchvision"),
        "commit": reports.commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str:
    return importlib.import_module(package).__version__


def row(case: Case, clock: str, timings: dict[str, Timing]) -> dict[str, Any]:
    """A result as data: every timing in seconds, and the ratio to the best other contender of those
    that were timed as ours was. Where there is none, `mixed` says that one time of the ratio has
    the host's in it and the other has not."""
    ours = timings[OURS]
    others = {name: t for name, t in timings.items() if name not in (OURS, COPY)}
    alike = {name: t for name, t in others.items() if t.captured == ours.captured} or others
    best = min(alike, key=lambda name: alike[name].median) if alike else None
    copy = timings.get(COPY)
    return {
        "op": case.op,
        "case": case.name,
        "clock": clock,
        "timings": {name: asdict(t) for name, t in timings.items()},
        "best_other": best,
        "ratio": others[best].median / ours.median if best else None,
        "mixed": others[best].captured != ours.captured if best else False,
        "percent_of_copy": 100 * copy.median / ours.median if copy else None,
        "target": case.target,
        "gigabytes_per_second": case.bytes_moved / ours.median / 1e9 if case.bytes_moved else None,
    }


def show(result: dict[str, Any]) -> None:
    """Prints a result. On a GPU, "~" marks times that have the host's in them, and ratios of one
    such to one that has not."""
    on_gpu = result["clock"] != "wall"
    scale, unit = (1e6, "us") if on_gpu else (1e3, "ms")
    columns = "  ".join(
        f"{name} {t['median'] * scale:9.3f}{'~' if on_gpu and not t['captured'] else ''}"
        for name, t in result["timings"].items()
    )
    verdict = ""
    if result["ratio"] is not None:
        mark = "~" if result["mixed"] else ""
        verdict = f"  {result['ratio']:6.1f}x{mark} {result['best_other']}"
    if result["target"] is not None and result["ratio"] is not None:
        met = result["ratio"] >= result["target"]
        verdict += f" (asked {result['target']:g}x: {'met' if met else 'NOT met'})"
    if result["gigabytes_per_second"]:
        verdict += f"  {result['gigabytes_per_second']:.1f} GB/s"
    if result["percent_of_copy"]:
        verdict += f"  {result['percent_of_copy']:.0f}% of a copy"
    print(
        f"{result['op']}: {result['case']} ({result['clock']})\n"
        f"    {unit}: {columns}\n   {verdict}",
        flush=True,
    )


def wanted(case: Case, patterns: list[str] | None) -> bool:
    name = f"{case.op}: {case.name}"
    return patterns is None or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def limited(case: Case, names: set[str]) -> Case:
    """The case with those contenders alone."""
    return replace(case, contenders={n: f for n, f in case.contenders.items() if n in names})


def measure(case: Case, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each clock of the device. Whoever is timed, ours is compared with the reference."""
    if options.device == "cuda":
        case = with_copy(case)
    if options.contenders is None:
        check(case)
    else:
        names = {OURS, COPY, *options.contenders}
        check(limited(case, names | {"eager"}))
        case = limited(case, names)
    rows = []
    for clock, make_clock in CLOCKS[options.device].items():
        result = row(case, clock, run(case, options.budget, make_clock))
        # The targets are those of a CPU; what is asked of a GPU is not a ratio alone.
        result["target"] = case.target if options.device == "cpu" else None
        show(result)
        rows.append(result)
    return rows


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("ops", nargs="*", metavar="OP", help=f"some of {', '.join(OPS)}")
    parser.add_argument("--cases", nargs="+", metavar="PATTERN", help='as "focal_loss: forward*"')
    parser.add_argument("--contenders", nargs="*", metavar="NAME", help="beside ours and the copy")
    parser.add_argument("--budget", type=float, default=6.0, help="seconds a case (default 6)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=tuple(CLOCKS), default="cpu")
    parser.add_argument("--output", type=Path, default=Path("out/benchmarks.json"))
    options = parser.parse_args(arguments)
    unknown = set(options.ops) - set(OPS)
    if unknown:
        parser.error(f"unknown op {', '.join(sorted(unknown))}; known: {', '.join(OPS)}")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    fields: dict[str, Any] = {}
    if options.device != "cpu":  # a default device, even the CPU, costs every call of torch
        torch.set_default_device(options.device)
        device = gpu.Machine()
        fields = {**device.describe(), "state_before": device.state()}
    report: dict[str, Any] = {"machine": machine(fields), "results": [], "failures": []}
    print(json.dumps(report["machine"], indent=1))
    for op in options.ops or OPS:
        for case in importlib.import_module(f"benchmarks.bench_{op}").cases():
            if not wanted(case, options.cases):
                continue
            try:
                report["results"] += measure(case, options)
            except Exception as error:  # the other cases are worth having
                name = f"{case.op}: {case.name}"
                report["failures"].append({"case": name, "error": repr(error)})
                print(f"{name}: FAILED: {error!r}", flush=True)
            # After every case: a long run that stops leaves what it has.
            reports.write(options.output, report)
    if options.device != "cpu":
        report["machine"]["state_after"] = device.state()
    reports.write(options.output, report)
    print(f"written to {options.output}")
    return bool(report["failures"])


if __name__ == "__main__":
    sys.exit(main())
