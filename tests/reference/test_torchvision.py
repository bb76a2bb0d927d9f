"""The reference ops against torchvision's: the `torchvision` preset, losses and NMS."""

import pytest
import torch

from fcos_ops import reference
from fcos_ops.levels import pyramid_levels

pytestmark = pytest.mark.torchvision
torchvision = pytest.importorskip("torchvision")

SIZES = [(40, 48), (20, 24), (10, 12), (5, 6), (3, 3)]  # of a batch padded to 320 x 384
PADDED = (320, 384)
CLASSES = 7


@pytest.fixture(scope="module")
def model():
    return torchvision.models.detection.fcos_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=CLASSES
    )


@pytest.fixture(scope="module")
def anchors(model):
    """For one image, all levels joined."""
    features = [torch.zeros(1, 1, *size) for size in SIZES]
    images = torchvision.models.detection.image_list.ImageList(torch.zeros(1, 3, *PADDED), [PADDED])
    return model.anchor_generator(images, features)[0]


def levels():
    return pyramid_levels(SIZES, image_size=PADDED, rule="torchvision")


def random_boxes(count, generator):
    center = torch.rand(count, 2, generator=generator) * torch.tensor([384.0, 320])
    size = torch.exp2(torch.rand(count, 2, generator=generator) * 6 + 2.5)
    return torch.cat([center - size / 2, center + size / 2], 1)


def test_assignment(model, anchors, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    boxes = [random_boxes(n, generator) for n in (40, 0, 15)]
    boxes[2][5:10] = boxes[2][:5] + 0.001  # areas that tie in float32, near 1e8
    seen = {}
    monkeypatch.setattr(model.head, "compute_loss", lambda t, h, a, matched: seen.update(m=matched))
    counts = [height * width for height, width in SIZES]
    model.compute_loss([{"boxes": b} for b in boxes], {}, [anchors] * 3, counts)
    offsets = torch.tensor([0, 40, 40, 55])
    found = reference.assign_targets(
        levels(), torch.cat(boxes), torch.zeros(55).long(), offsets, rule="torchvision"
    )
    expected = torch.stack(seen["m"])
    expected = torch.where(expected >= 0, expected + offsets[:3, None], -1)
    assert (expected >= 0).sum() > 200
    assert torch.equal(found.matched, expected)


def test_postprocess(model, anchors):
    generator = torch.Generator().manual_seed(1)
    heads = [
        [torch.randn(2, channels, *size, generator=generator) for size in SIZES]
        for channels in (CLASSES, 4, 1)
    ]
    heads[1] = [t.relu() for t in heads[1]]
    shapes = [(320, 384), (300, 350)]
    flat = [[t.flatten(2).transpose(1, 2) for t in head] for head in heads]
    counts = [height * width for height, width in SIZES]
    expected = model.postprocess_detections(
        dict(zip(("cls_logits", "bbox_regression", "bbox_ctrness"), flat, strict=True)),
        [list(anchors.split(counts))] * 2,
        shapes,
    )
    found = reference.postprocess(*heads, torch.tensor(shapes), levels=levels(), rule="torchvision")
    for image in range(2):
        count = found.count[image]
        assert count == len(expected[image]["scores"]) == 100
        # A coordinate near 0 is a difference of numbers up to 384; scores and labels are not.
        for name, absolute in (("boxes", 1e-4), ("scores", 0.0), ("labels", 0.0)):
            ours = getattr(found, name)[image, :count]
            torch.testing.assert_close(ours, expected[image][name], rtol=1e-6, atol=absolute)


@pytest.mark.parametrize("alpha", [-1, 0.25])
@pytest.mark.parametrize("gamma", [0, 1.5, 2])
def test_focal_loss(alpha, gamma):
    logits, dense = torch.randn(40, 5).double() * 4, torch.rand(40, 5).double()
    labels = torch.randint(-1, 5, (40,))
    hard = (labels[:, None] == torch.arange(5)).double()
    for ours, theirs in ((labels, hard), (dense, dense)):
        torch.testing.assert_close(
            reference.sigmoid_focal_loss(logits, ours, alpha=alpha, gamma=gamma, reduction="none"),
            torchvision.ops.sigmoid_focal_loss(logits, theirs, alpha=alpha, gamma=gamma),
        )


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou"])
def test_iou_loss(kind):
    theirs = {
        "giou": torchvision.ops.generalized_box_iou_loss,
        "diou": torchvision.ops.distance_box_iou_loss,
        "ciou": torchvision.ops.complete_box_iou_loss,
    }[kind]
    generator = torch.Generator().manual_seed(2)
    pred, target = (random_boxes(200, generator).double() for _ in range(2))
    pred[100:] = target[100:] + torch.rand(100, 4, generator=generator)
    torch.testing.assert_close(
        reference.iou_loss(pred, target, kind=kind, reduction="none"), theirs(pred, target)
    )


@pytest.mark.parametrize("threshold", [0.3, 0.6])
def test_nms(threshold):
    generator = torch.Generator().manual_seed(3)
    boxes = random_boxes(500, generator).repeat(3, 1)
    boxes = boxes + torch.randn(1500, 4, generator=generator) * 2
    scores = (torch.rand(1500, generator=generator) * 500).round() / 500
    ids = torch.randint(0, 4, (1500,), generator=generator)
    ours = reference.nms(boxes, scores, threshold)
    assert 100 < len(ours) < 1400
    assert torch.equal(ours, torchvision.ops.nms(boxes, scores, threshold))
    ours = reference.batched_nms(boxes, scores, ids, threshold)
    theirs = torchvision.ops.batched_nms(boxes, scores, ids, threshold)
    assert 100 < len(ours) < 1400
    # torchvision does not define the order of equal scores here.
    assert torch.equal(ours.sort().values, theirs.sort().values)
