"""Tables of committed results, for benchmarks/results/README.md and, some of their rows, README.md:
`python -m benchmarks.table FILE [--clock CLOCK]`."""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.harness import OURS

PEERS = ("eager", "torch.compile", "torchvision")
WALL = "wall"


def mark(result: dict[str, Any], name: str) -> str:
    """ "~" beside a time of a GPU that has the host's in it."""
    return "" if result["clock"] == WALL or result["timings"][name]["captured"] else "~"


def cell(result: dict[str, Any], name: str) -> str:
    """A time in milliseconds, on a GPU microseconds."""
    if name not in result["timings"]:
        return "-"
    seconds = result["timings"][name]["median"]
    if result["clock"] == WALL:
        return f"{seconds * 1e3:.2f}"
    return f"{seconds * 1e6:.1f}{mark(result, name)}"


def ratio(result: dict[str, Any]) -> str:
    if result["ratio"] is None:
        return "-"
    return f"{result['ratio']:.1f}x{'~' if result.get('mixed') else ''}"


def line(result: dict[str, Any]) -> str:
    cells = [f"{result['op']}: {result['case']}", cell(result, OURS)]
    for name in PEERS:
        cells.append(cell(result, name))
        if f"{name} from maps" in result["timings"]:
            cells[-1] += f" ({cell(result, f'{name} from maps')} from maps)"
    if result["clock"] != WALL:
        percent = result.get("percent_of_copy")
        cells.append("-" if percent is None else f"{percent:.0f} %")
    return f"| {' | '.join([*cells, ratio(result)])} |"


def table(report: dict[str, Any], clock: str) -> str:
    """Rows of one clock as Markdown; those of calls on one element in a sentence."""
    results = [result for result in report["results"] if result["clock"] == clock]
    unit, copy = ("ms", []) if clock == WALL else ("us", ["% of copy"])
    names = ["case", f"ours, {unit}", *PEERS, *copy, "against the best"]
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    lines += [line(result) for result in results if result["op"] != "calls"]
    calls = [
        f"{result['case']} {result['timings'][OURS]['median'] * 1e6:.0f}{mark(result, OURS)}"
        for result in results
        if result["op"] == "calls"
    ]
    if calls:
        start = "A call with one element, without autograd, in microseconds"
        lines += ["", f"{start}: {', '.join(calls)}."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--clock", default=WALL, help='"wall" (default), "cold L2" or "hot L2"')
    options = parser.parse_args()
    report = json.loads(options.file.read_text())
    clocks = sorted({result["clock"] for result in report["results"]})
    if options.clock not in clocks:
        parser.error(f"no rows of {options.clock!r} in {options.file}; it has {clocks}")
    print(table(report, options.clock))


if __name__ == "__main__":
    main()
