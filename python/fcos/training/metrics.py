"""The metrics file: a JSON object a line, in the order of their steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..files import atomic_path


def append_metrics(path: Path, values: dict[str, Any]) -> None:
    """Add a line."""
    with open(path, "a", encoding="utf-8") as file:
        print(json.dumps(values), file=file)


def cut_metrics(path: Path, last_step: int) -> list[dict[str, Any]]:
    """Drop what lies behind a step: the run that resumes there writes it again. Returns the rest.

    A line that a killed process left unfinished is dropped, too.
    """
    if not path.exists():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict) and values.get("step", last_step + 1) <= last_step:
            kept.append(values)
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(values) + "\n" for values in kept))
    return kept
