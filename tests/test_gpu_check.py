"""scripts/gpu_check where there is no GPU: its plan, its limits, and the file that it writes."""

import json
import re
import sys
import time
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks import __main__ as suite
from scripts import gpu_plan
from scripts.gpu_plan import Rows, Step
from tests.inputs.gpu_suite import cases_of_a_gpu
from tests.repository import REPOSITORY

MACRO = re.compile(r"\bFCOS_OPS_AB_(\w+)")


@pytest.fixture
def script() -> ModuleType:
    loader = SourceFileLoader("gpu_check", str(REPOSITORY / "scripts/gpu_check"))
    module = module_from_spec(spec_from_loader("gpu_check", loader))  # type: ignore[arg-type]
    sys.modules["gpu_check"] = module
    loader.exec_module(module)
    return module


def names(plan: list[dict[str, Any]]) -> list[list[str]]:
    return [list(stage) for stage in plan]


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_every_constant_is_compared() -> None:
    """A constant that waits for a measurement has a line here, and each line has its constant."""
    sources = [p for p in (REPOSITORY / "csrc").rglob("*") if p.suffix in {".cu", ".cuh", ".h"}]
    found = {name for path in sources for name in MACRO.findall(path.read_text())}
    assert found == gpu_plan.AB.keys()
    for rows in gpu_plan.AB.values():
        assert set(rows.ops) <= set(suite.OPS) and rows.cases


def test_what_is_timed_runs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = {"ONE": Rows(("nms",), ("nms: *",)), "TWO": Rows(("calls",), ("*",))}
    monkeypatch.setattr(gpu_plan, "AB", constants)
    plan = gpu_plan.stages(tmp_path)
    stages = names(plan)
    assert stages[0] == ["build"]
    assert {"tests on cuda", *gpu_plan.TOOLS, "C++ consumer", "A/B build of ONE"} <= set(stages[1])
    assert stages[2:] == [
        ["benchmarks"],
        ["A/B rows before"],
        ["A/B rows of ONE"],
        ["A/B rows of TWO"],
        ["A/B rows after"],
        ["benchmarks of peers"],
    ]
    assert all(0 < step.limit <= 180 for stage in plan for step in stage.values())
    timed = plan[4]["A/B rows of ONE"]
    assert timed.folder == tmp_path / "ab/ONE" and "nms: *" in timed.commands[0]
    macros = [w for c in plan[1]["A/B build of ONE"].commands for w in c if "FCOS_OPS_AB_" in w]
    assert macros == [
        "-DCMAKE_CUDA_FLAGS=-DFCOS_OPS_AB_ONE=1",
        "-DCMAKE_CXX_FLAGS=-DFCOS_OPS_AB_ONE=1",
    ]


def test_the_suite_takes_what_it_is_given(tmp_path: Path) -> None:
    rows = Rows(("nms",), ("nms: *", "other"))
    steps = [
        *gpu_plan.benchmarks(tmp_path).values(),
        gpu_plan.compared("ONE", rows, tmp_path, tmp_path),
    ]
    for step in steps:
        (command,) = step.commands
        assert command[1:3] == ["-m", "benchmarks"]
        options = suite.parse(command[3:])
        assert options.device == "cuda" and options.contenders is not None
    assert options.cases == ["nms: *", "other"] and options.ops == ["nms"]


def test_patterns_name_cases() -> None:
    """Of the suite as a GPU has it, at its batch of 16."""
    ops = {pattern.split(":")[0] for pattern in gpu_plan.PEERS}
    tables = [Rows(tuple(ops), gpu_plan.PEERS), *gpu_plan.AB.values()]
    for rows in tables:
        cases = [case for op in rows.ops for case in cases_of_a_gpu(op, batch=16)]
        for pattern in rows.cases:
            assert any(suite.wanted(case, [pattern]) for case in cases), pattern


def test_only(tmp_path: Path) -> None:
    plan = gpu_plan.stages(tmp_path)
    assert names(gpu_plan.chosen(plan, ["race", "build"])) == [["build"], ["racecheck"]]
    assert gpu_plan.chosen(plan, ["nothing"]) == []
    assert gpu_plan.chosen(plan, None) == plan


def test_without_xdist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_plan.importlib.util, "find_spec", lambda name: None)
    step = gpu_plan.tests()["tests on cuda"]
    assert "-n" not in step.commands[0] and "pytest-xdist is not installed" in step.note
    monkeypatch.setattr(gpu_plan.importlib.util, "find_spec", lambda name: object())
    step = gpu_plan.tests()["tests on cuda"]
    assert "-n" in step.commands[0] and not step.note


def test_outcomes(script: ModuleType, tmp_path: Path) -> None:
    def outcome(*commands: list[str], limit: int = 60, left: float = 60.0) -> dict[str, Any]:
        step = Step(list(commands), limit, {"GREETING": "hello"})
        return script.run("a/b step", step, tmp_path, time.perf_counter() + left)

    passed = outcome(python("import os; print(os.environ['GREETING'])"))
    assert (passed["outcome"], passed["last_lines"]) == ("passed", ["hello"])
    assert outcome(python("raise SystemExit(3)"), python("print(1)"))["outcome"] == "failed with 3"
    assert (tmp_path / "ab_step.log").read_text() == ""
    assert outcome(["/no/such/program"])["outcome"] == "failed to start"
    assert outcome(python("print(1)"), left=-1.0)["outcome"] == "no time"
    reason = script.run("x", Step("it was not found", 9), tmp_path, 0.0)
    assert reason == {"step": "x", "outcome": "not run", "reason": "it was not found"}


def test_a_step_ends_at_its_limit_with_all_that_it_started(
    script: ModuleType, tmp_path: Path
) -> None:
    marker = tmp_path / "still alive"
    child = f"import time; time.sleep(3); open({str(marker)!r}, 'w')"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    start = time.perf_counter()
    step = Step([python(parent)], 1)
    result = script.run("slow", step, tmp_path, start + 60)
    assert result["outcome"] == "stopped at its limit"
    time.sleep(max(0.0, start + 4 - time.perf_counter()))
    assert not marker.exists()


def test_report(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written whole, without git and nvidia-smi; a build that fails ends the run."""

    def plan(output: Path) -> list[dict[str, Any]]:
        good, bad = python("print('fine')"), python("raise SystemExit(1)")
        return [
            {"build": Step([bad if broken else good], 60)},
            {"one": Step([good], 60), "two": Step("no tool", 60)},
            {"three": Step([bad], 60)},
        ]

    monkeypatch.setattr(gpu_plan, "stages", plan)
    monkeypatch.setattr(gpu_plan, "PYTHON", "/no/such/python")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("FCOS_OPS_COMMIT", "abc")
    output = tmp_path / "out" / "report.json"
    broken = False
    assert script.main(["--output", str(output), "--only", "build", "one", "two"]) == 0
    report = json.loads(output.read_text())
    assert {s["step"]: s["outcome"] for s in report["steps"]} == {
        "build": "passed",
        "one": "passed",
        "two": "not run",
    }
    assert report["machine"]["commit"] == "abc" and report["machine"]["gpu"] == ""
    assert script.main(["--output", str(output)]) == 1
    broken = True
    assert script.main(["--output", str(output)]) == 1
    assert [s["step"] for s in json.loads(output.read_text())["steps"]] == ["build"]
    assert not list(output.parent.glob("tmp*"))
    assert script.main(["--output", str(output), "--limit", "0", "--only", "one"]) == 1
    with pytest.raises(SystemExit):
        script.main(["--only", "nothing"])


def test_comparison(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = {"ONE": Rows(("nms",), ("*",)), "LOST": Rows(("nms",), ("*",))}
    monkeypatch.setattr(gpu_plan, "AB", constants)
    for name, microseconds in (("before", 20.0), ("after", 22.0), ("ONE", 10.0)):
        row = {"op": "op", "case": "case", "clock": "hot L2"}
        row["timings"] = {"fcos_ops": {"median": microseconds * 1e-6}}  # type: ignore[assignment]
        (tmp_path / f"{name}.json").write_text(json.dumps({"results": [row]}))
    assert script.comparison(tmp_path) == {
        "ONE": [{"case": "op case hot L2", "without": [20.0, 22.0], "with": 10.0}],
        "LOST": [],
    }
