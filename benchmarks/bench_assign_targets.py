"""assign_targets, preset improved: against the reference, and how its time grows with the boxes.

The reference reads offsets back to the host, so torch.compile cannot take it whole.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import torch

import fcos_ops
from benchmarks import problem
from benchmarks.harness import OURS, Case
from fcos_ops import reference


def agree(ours: Any, theirs: Any) -> None:
    assert torch.equal(ours.labels, theirs.labels)
    assert torch.equal(ours.matched, theirs.matched)


def cases() -> Iterator[Case]:
    levels = problem.levels()
    batches = [batch for batch, dtype in problem.variants() if dtype == torch.float32]
    for batch, per_image in itertools.product(batches, (10, 50, 200)):
        boxes = problem.objects(batch, per_image)

        def run(function: Any, boxes: Any = boxes) -> Any:
            return lambda: function(levels, *boxes)

        contenders = {
            OURS: run(fcos_ops.assign_targets),
            "eager": run(reference.assign_targets),
        }
        written = batch * problem.LOCATIONS * (8 + 16 + 4 + 8)
        name = f"{per_image} boxes an image, batch {batch}, 800x1344"
        waits = frozenset({"eager"})  # for the offsets
        yield Case("assign_targets", name, contenders, agree, 100.0, written, waits)
