"""A network of torchvision's, converted, gives torchvision's losses and detections."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fcos.models import FCOS, LOSS_NAMES
from fcos.structures import pad_images
from fcos.weights.layouts import convert

pytestmark = pytest.mark.torchvision
detection = pytest.importorskip("torchvision.models.detection")

SIZES = [(160, 224), (96, 200)]  # neither is a multiple of the batch's padded size


def _pair() -> tuple[Any, FCOS]:
    torch.manual_seed(0)
    theirs = detection.fcos_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=7,
        min_size=1,
        max_size=10_000,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        _skip_resize=True,
    )
    torch.nn.init.constant_(theirs.head.classification_head.cls_logits.bias, -1.0)
    torch.nn.init.normal_(theirs.head.classification_head.cls_logits.weight, std=0.05)
    torch.nn.init.normal_(theirs.head.regression_head.bbox_reg.weight, std=0.1)
    converted = convert(theirs.state_dict())
    ours = FCOS(converted.config)
    ours.load_state_dict(converted.state)
    return theirs, ours


def _images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, *size, generator=generator) for size in SIZES]


@pytest.mark.parametrize("empty", [False, True])
def test_losses(empty: bool) -> None:
    theirs, ours = _pair()
    boxes = torch.tensor([[10.0, 12, 90, 150], [100, 20, 130, 60], [5, 5, 220, 150]])
    targets = [
        {"boxes": boxes, "labels": torch.tensor([1, 2, 6])},
        {"boxes": boxes[:0], "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    if empty:
        targets[0] = targets[1]
    expected = theirs.train()(_images(), [dict(t) for t in targets])
    actual = ours.train()(_images(), targets)
    assert tuple(actual) == LOSS_NAMES
    for name in LOSS_NAMES:  # float32 sums over all locations, in another order
        torch.testing.assert_close(actual[name], expected[name], rtol=1e-5, atol=1e-6)


def test_detections() -> None:
    theirs, ours = _pair()
    # torchvision resizes at evaluation whatever _skip_resize says: feed it one image at its size
    for image in _images():
        theirs.transform.min_size, theirs.transform.max_size = (min(image.shape[1:]),), 10_000
        with torch.no_grad():
            expected = theirs.eval()([image])[0]
            found = ours.eval().detect(pad_images([image]))
        count = int(found.count)
        assert count == len(expected["scores"]) > 10
        torch.testing.assert_close(found.scores[0, :count], expected["scores"])
        # pixels up to 224, behind 60 convolutions of float32; a wrong location is off by 4 or more
        torch.testing.assert_close(found.boxes[0, :count], expected["boxes"], rtol=1e-5, atol=1e-3)
        assert torch.equal(found.labels[0, :count], expected["labels"])
