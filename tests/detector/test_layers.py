"""The packages of the detector import one another one way, as CONTRIBUTING says."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repository import REPOSITORY

PACKAGE = REPOSITORY / "python" / "fcos"
# each imports those behind it only
ORDER = (
    *("__main__", "cli", "commands", "demo", "starting", "options", "configuration", "detectors"),
    *("training", "recipes", "weights", "detection", "models", "pictures", "evaluation"),
    *("distributed", "data", "preprocessing", "structures", "opencv_resize", "op_report", "scenes"),
    *("names", "memory", "files", "interrupts", "errors"),
)
# a class method that reads a file of whatever origin
UPWARDS = {("fcos.models.detector", "fcos.detectors")}


def _imports(path: Path) -> Iterator[tuple[str, str]]:
    """(module, imported module) of every relative import of a file."""
    module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = ".".join(module.split(".")[: -node.level])
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((module, f"{base}.{name}") for name in names)


def test_imports_lead_downwards() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        if path == PACKAGE / "__init__.py":
            continue
        for module, imported in _imports(path):
            own, other = (ORDER.index(name.split(".")[1]) for name in (module, imported))
            assert own <= other or (module, imported) in UPWARDS, f"{module} imports {imported}"


@pytest.mark.parametrize(
    "module",
    [
        *("options.commands", "data.annotated", "evaluation.report"),
        *("pictures.gallery", "pictures.plots"),
    ],
)
def test_what_needs_no_torch(module: str) -> None:
    script = f"import sys; sys.modules['torch'] = None; import fcos.{module}"
    subprocess.run([sys.executable, "-c", script], check=True)
