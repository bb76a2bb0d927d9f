"""The benchmark suite: its rows, its table, its cases at a small size. No time is asserted."""

import json
from argparse import Namespace
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import __main__ as suite
from benchmarks import reports, table
from benchmarks.harness import COPY, OURS, Case, Timing, WallClock, check, run, with_copy
from tests.inputs.gpu_suite import cases_of_a_gpu
from tests.repository import REPOSITORY

RESULTS = REPOSITORY / "benchmarks/results"


def case(**fields: Any) -> Case:
    return Case("op", "case", {OURS: lambda: 1, "eager": lambda: 1}, lambda a, b: None, **fields)


def timing(microseconds: float, captured: bool = True) -> Timing:
    return Timing(microseconds * 1e-6, 0.0, 0.0, 7, captured)


def test_ratio_is_to_what_was_timed_alike() -> None:
    timings = {
        OURS: timing(10),
        "eager": timing(40),
        "torch.compile": timing(20),
        "torchvision": timing(15, captured=False),
        COPY: timing(5),
    }
    row = suite.row(case(bytes_moved=10_000), "cold L2", timings)
    assert (row["best_other"], row["mixed"]) == ("torch.compile", False)
    assert row["ratio"] == pytest.approx(2) and row["percent_of_copy"] == pytest.approx(50)
    assert row["timings"]["torchvision"]["captured"] is False
    assert row["gigabytes_per_second"] == pytest.approx(1)


@pytest.mark.parametrize("ours", [True, False])
def test_a_ratio_across_clocks_is_marked(ours: bool, capsys: pytest.CaptureFixture[str]) -> None:
    timings = {OURS: timing(10, ours), "eager": timing(40, not ours)}
    row = suite.row(case(), "hot L2", timings)
    assert (row["best_other"], row["mixed"], row["percent_of_copy"]) == ("eager", True, None)
    suite.show(row)
    assert "4.0x~ eager" in capsys.readouterr().out
    assert table.line(row).endswith("4.0x~ |") and table.line(row).count("~") == 2


def test_a_row_without_others() -> None:
    row = suite.row(case(), "wall", {OURS: timing(10, False), COPY: timing(5, False)})
    assert (row["best_other"], row["ratio"], row["mixed"]) == (None, None, False)
    assert table.line(row) == "| op: case | 0.01 | - | - | - | - |"


@pytest.mark.parametrize(
    "file, clock", [("cpu-epyc-1thread.json", "wall"), ("h200-first-run.json", "cold L2")]
)
def test_the_tables_show_the_committed_results(file: str, clock: str) -> None:
    whole = table.table(json.loads((RESULTS / file).read_text()), clock)
    assert whole in (RESULTS / "README.md").read_text()
    (shown,) = _rows_below(whole.splitlines()[0], (REPOSITORY / "README.md").read_text())
    assert shown and set(shown) <= set(whole.splitlines())


def _rows_below(header: str, text: str) -> Iterator[list[str]]:
    """Of each table with this header."""
    for part in text.split(header + "\n")[1:]:
        yield list(takewhile(lambda line: line.startswith("|"), part.splitlines()))


def test_committed_results_state_where_they_come_from() -> None:
    for path in RESULTS.glob("*.json"):
        machine = json.loads(path.read_text())["machine"]
        assert machine["commit"] and machine["date"], path.name
        assert "gpu" not in machine or machine["driver"], path.name


def test_copy_moves_as_many_bytes() -> None:
    assert COPY not in with_copy(case()).contenders
    contenders = with_copy(case(bytes_moved=4096)).contenders
    assert contenders[COPY]().nbytes == 2048  # read once, written once
    check(with_copy(case(bytes_moved=4096)))  # not compared with ours


def test_choice_of_cases() -> None:
    assert suite.wanted(case(), None) and suite.wanted(case(), ["none", "op: c*"])
    assert not suite.wanted(case(), ["op: cas", "case"])


def test_choice_of_contenders(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    chosen = Case(
        "op",
        "case",
        {OURS: lambda: 1, "eager": lambda: 2, "torch.compile": lambda: 3},
        lambda ours, theirs: compared.append(theirs),
        bytes_moved=8,
    )
    clocks = {"wall": WallClock, "another": WallClock}
    monkeypatch.setitem(suite.CLOCKS, "cuda", clocks)
    for contenders, timed, checked in (
        (None, [OURS, "eager", "torch.compile", COPY], [2, 3]),
        ([], [OURS, COPY], [2]),
        (["torch.compile"], [OURS, "torch.compile", COPY], [2, 3]),
    ):
        compared.clear()
        options = Namespace(contenders=contenders, device="cuda", budget=0.0)
        rows = suite.measure(chosen, options)
        assert [row["clock"] for row in rows] == list(clocks)
        assert all(list(row["timings"]) == timed for row in rows) and compared == checked


def test_unknown_op_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        suite.parse(["nonsense"])
    assert "unknown op nonsense; known: focal_loss" in capsys.readouterr().err


def test_clocks_learn_who_waits() -> None:
    asked = {}

    class FakeClock(WallClock):
        captured = True

        def __init__(self, function: Any, capture: bool) -> None:
            super().__init__(function)
            asked[function] = capture

    waiting = case(waits=frozenset({"eager"}))
    timings = run(waiting, 0.0, FakeClock, minimum=2)
    assert [asked[f] for f in waiting.contenders.values()] == [True, False]
    assert timings["eager"].count == 2 and timings["eager"].captured


def test_a_case_that_fails_does_not_end_the_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disagree(ours: Any, theirs: Any) -> None:
        raise AssertionError("they differ")

    def cases() -> Iterator[Case]:
        yield case()
        yield Case("op", "wrong", case().contenders, disagree)
        yield Case("op", "last", case().contenders, lambda a, b: None)

    monkeypatch.setattr("benchmarks.bench_calls.cases", cases)
    monkeypatch.setenv("FCOS_OPS_COMMIT", "abc")
    threads = torch.get_num_threads()
    try:
        arguments = ["calls", "--budget", "0", "--output", str(tmp_path / "new" / "rows.json")]
        assert suite.main(arguments) == 1
    finally:
        torch.set_num_threads(threads)
    report = json.loads((tmp_path / "new" / "rows.json").read_text())
    assert [row["case"] for row in report["results"]] == ["case", "last"]
    assert report["failures"] == [{"case": "op: wrong", "error": "AssertionError('they differ')"}]
    assert report["machine"]["commit"] == "abc"


def test_commit_without_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FCOS_OPS_COMMIT", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert reports.commit() is None


class Waits(TorchDispatchMode):
    """Notes what would make the host wait for a device: a value read back, a size that depends on
    values, and a list that becomes a tensor."""

    OPS = {"_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "_unique2"}

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put_") and any(
            t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1]
        )
        if name in self.OPS or by_mask:
            self.seen.add(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("op", suite.OPS)
def test_cases_of_a_gpu_agree_and_say_who_waits(op: str) -> None:
    """But for torch.compile, which takes long."""
    names = []
    for full in cases_of_a_gpu(op):
        names.append(f"{full.op}: {full.name}")
        if " 20000 boxes" in full.name or " 5000 boxes" in full.name:
            continue  # the reference takes long
        small = suite.limited(full, full.contenders.keys() - {"torch.compile"})
        if op != "calls":
            check(small)
        for name, function in small.contenders.items():
            with Waits() as waits:
                function()
            if name != OURS:  # what our ops do below torch is not seen
                assert (name in small.waits) == bool(waits.seen), (small.name, name, waits.seen)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("op", ["focal_loss", "fcos_loss", "postprocess"])
def test_what_a_gpu_meets_besides(op: str) -> None:
    """Half precision, one image, and both layouts, in every op that reads maps."""
    names = [case.name for case in cases_of_a_gpu(op)]
    for text in ("bfloat16", "float16", "batch 1,", "batch 2,"):
        assert any(text in name for name in names), text
    assert any("channels_last" in name or "class-major" in name for name in names)
