"""DistributedDataParallel: two processes with an image each train as one with both."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fcos.models import FCOS
from fcos.structures import ImageBatch, pad_images
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from .helpers import small_model
from .processes import start_function

# The second image has fewer positives, so that local normalizers would give another gradient.
TARGETS = [
    {"boxes": torch.tensor([[4.0, 6, 60, 60], [30, 8, 88, 60]]), "labels": torch.tensor([0, 2])},
    {"boxes": torch.tensor([[30.0, 30, 50, 50]]), "labels": torch.tensor([1])},
]


def _model(preset: str) -> FCOS:
    """With group or frozen normalisation an image does not depend on the others of its batch."""
    return small_model(preset=preset, norm="frozen_bn").train()


def _images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(3, 64, 96, generator=generator) for _ in TARGETS]


def _gradients(model: FCOS) -> dict[str, Tensor]:
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def _train_one_of_two(
    rank: int, folder: str, preset: str, targets: list[dict[str, Tensor]]
) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    model = DistributedDataParallel(_model(preset))
    batch: ImageBatch = pad_images(_images()[rank : rank + 1])
    sum(model(batch, targets[rank : rank + 1]).values()).backward()
    if rank == 0:
        torch.save(_gradients(model.module), f"{folder}/gradients.pth")
    torch.distributed.barrier()  # neither takes down what the other may still wait for
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("preset", "filled"), [("improved", "both"), ("improved", "first"), ("torchvision", "both")]
)
def test_two_processes_equal_one(preset: str, filled: str, tmp_path: Path) -> None:
    """Global normalizers give the gradient of the joint batch; the local ones of `torchvision` do
    not: its own training does not either."""
    targets = [dict(t) for t in TARGETS]
    if filled == "first":
        targets[1] = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    more = (str(tmp_path), preset, targets)
    processes = [start_function(_train_one_of_two, rank, *more) for rank in range(2)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    found = torch.load(tmp_path / "gradients.pth")
    model = _model(preset)
    sum(model(pad_images(_images()), targets).values()).backward()
    expected = _gradients(model)
    assert found.keys() == expected.keys()
    # float32 sums over the images in another order
    differences = [
        float((found[n] - expected[n]).norm() / expected[n].norm())
        for n in expected
        if expected[n].norm() > 0
    ]
    if preset == "improved":
        assert max(differences) < 1e-4, max(differences)
    else:
        assert max(differences) > 1e-2
