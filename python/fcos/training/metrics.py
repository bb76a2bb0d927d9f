"""The metrics file: a JSON object a line, in the order of their steps."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ..files import atomic_path


def append_metrics(path: Path, values: dict[str, Any]) -> None:
    """Add a line."""
    with open(path, "a", encoding="utf-8") as file:
        print(json.dumps(values), file=file)


def read_metrics(path: Path, last_step: float = math.inf) -> list[dict[str, Any]]:
    """The lines up to a step. One that a killed process left unfinished is passed over."""
    if not path.exists():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        step = values.get("step") if isinstance(values, dict) else None
        if isinstance(step, int) and step <= last_step:
            lines.append(values)
    return lines


def cut_metrics(path: Path, last_step: int) -> None:
    """Drop what lies behind a step: the run that resumes there writes it again."""
    if path.exists():
        kept = read_metrics(path, last_step)
        with atomic_path(path) as temporary:
            temporary.write_text("".join(json.dumps(values) + "\n" for values in kept))
