"""iou_loss gives torchvision's GIoU, DIoU and CIoU losses and their gradients, on proper boxes.

On others torchvision differs: it does not clamp the sides of inverted boxes.
"""

import pytest
import torch
from torch import Tensor

import fcos_ops
from fcos_ops import reference

pytestmark = pytest.mark.torchvision
ops = pytest.importorskip("torchvision.ops", reason="torchvision is not installed")

LOSSES = {
    "giou": "generalized_box_iou_loss",
    "diou": "distance_box_iou_loss",
    "ciou": "complete_box_iou_loss",
}


def make_pairs(n: int) -> tuple[Tensor, Tensor]:
    """Overlapping, nested and disjoint boxes of 1 to 100 pixels; no two share an edge."""
    corner, size = torch.rand(2, n, 2, dtype=torch.float64) * 100
    first = torch.cat([corner, corner + size + 1], 1)
    corner, size = corner + torch.randn(n, 2) * 20, size * torch.rand(n, 2)
    return first, torch.cat([corner, corner + size + 1], 1)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize(
    "function", [fcos_ops.iou_loss, reference.iou_loss], ids=["ours", "reference"]
)
def test_loss_and_gradients(function, kind: str, reduction: str) -> None:
    pair = [boxes.requires_grad_() for boxes in make_pairs(500)]
    ours = function(*pair, kind=kind, reduction=reduction)
    theirs = getattr(ops, LOSSES[kind])(*pair, reduction=reduction)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    weights = torch.rand_like(ours)
    for a, b in zip(
        torch.autograd.grad(ours, pair, weights),
        torch.autograd.grad(theirs, pair, weights),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)
