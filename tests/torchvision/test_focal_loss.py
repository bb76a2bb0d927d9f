"""sigmoid_focal_loss gives torchvision's focal loss and gradient, from labels and dense targets."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import fcos_ops
from fcos_ops import reference

pytestmark = pytest.mark.torchvision
ops = pytest.importorskip("torchvision.ops", reason="torchvision is not installed")


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("alpha, gamma", [(0.25, 2), (-1, 2), (0.7, 0), (0.5, 1), (0.25, 3.5)])
@pytest.mark.parametrize("dense", [False, True], ids=["labels", "dense"])
@pytest.mark.parametrize(
    "function",
    [fcos_ops.sigmoid_focal_loss, reference.sigmoid_focal_loss],
    ids=["ours", "reference"],
)
def test_loss_and_gradient(
    function: Any, dense: bool, alpha: float, gamma: float, reduction: str
) -> None:
    logits = (torch.randn(200, 80, dtype=torch.float64) * 4).requires_grad_()
    labels = torch.randint(-1, 80, (200,))
    if dense:
        labels = targets = torch.rand(200, 80, dtype=torch.float64)
    else:
        targets = F.one_hot(labels + 1, 81)[:, 1:].double()
    options = {"alpha": alpha, "gamma": gamma, "reduction": reduction}
    ours = function(logits, labels, **options)
    theirs = ops.sigmoid_focal_loss(logits, targets, **options)
    # torchvision computes 1 - p, with an absolute error of 1e-16 where p is near 1.
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    weights = torch.rand_like(ours)
    (gradient,) = torch.autograd.grad(ours, logits, weights)
    (expected,) = torch.autograd.grad(theirs, logits, weights)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)
