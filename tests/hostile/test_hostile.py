"""Some hundred hostile calls; and planted faults, each of which must be found."""

import re
import subprocess
import sys

from tests.hostile.findings import KINDS
from tests.repository import REPOSITORY


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.hostile", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_no_call_is_answered_wrongly() -> None:
    done = _run("--count", "300", "--seed", "0")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_planted_fault_is_found() -> None:
    done = _run("--count", "90", "--seed", "0", "--seconds", "8", "--plant", "--show", "1000")
    counts = {kind: re.search(rf"^{kind}: (\d+)$", done.stdout, re.MULTILINE) for kind in KINDS}
    missing = [kind for kind, found in counts.items() if found is None or found[1] == "0"]
    assert done.returncode == 1 and not missing, done.stdout + done.stderr


def test_a_finding_can_be_shown_again() -> None:
    done = _run("--seed", "0", "--plant", "--only", "4")
    assert done.returncode == 1
    assert "fcos_ops." in done.stdout and "silent difference: " in done.stdout, done.stdout
