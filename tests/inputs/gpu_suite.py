"""The benchmark cases of a GPU on a CPU, of a small image."""

import importlib

import pytest

from benchmarks import problem
from benchmarks.harness import Case

SIZES = ((6, 9), (3, 5), (2, 3), (1, 2), (1, 1))


def cases_of_a_gpu(op: str, batch: int = 2) -> list[Case]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(problem, "on_gpu", lambda: True)
        patch.setattr(problem, "batch", lambda: batch)
        patch.setattr(problem, "IMAGE_SIZE", (48, 72))
        patch.setattr(problem, "SIZES", SIZES)
        patch.setattr(problem, "LOCATIONS", sum(h * w for h, w in SIZES))
        return list(importlib.import_module(f"benchmarks.bench_{op}").cases())
