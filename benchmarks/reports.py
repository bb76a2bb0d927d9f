"""Files of results: written whole or not at all, and of which commit they are. Knows neither torch
nor fcos_ops: scripts/gpu_check reports before they can be imported."""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any


def commit() -> str | None:
    """Of the sources: FCOS_OPS_COMMIT where that is set, for a copy without git's folder."""
    if stated := os.environ.get("FCOS_OPS_COMMIT"):
        return stated
    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


def write(path: Path, report: dict[str, Any]) -> None:
    """Writes the JSON file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump(report, file, indent=1)
        file.write("\n")
    os.replace(file.name, path)
