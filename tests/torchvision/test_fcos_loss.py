"""fcos_loss under the preset `torchvision` is FCOS.compute_loss of torchvision: the same losses and
gradients from the same outputs of a head."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops
from tests.common import assert_near
from tests.repository import PHOTOS, WITHOUT_PHOTOS

pytestmark = pytest.mark.torchvision
detection = pytest.importorskip("torchvision.models.detection", reason="torchvision not installed")

HEADS = {"cls_logits": None, "bbox_regression": 4, "bbox_ctrness": 1}
# (padded image, sizes of the feature maps)
PYRAMIDS = {
    "256x320": ((256, 320), [(32, 40), (16, 20), (8, 10), (4, 5), (2, 3)]),
    "200x304": ((200, 304), [(25, 38), (13, 19), (7, 10), (4, 5), (2, 3)]),
    "64x96": ((64, 96), [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]),
}
Truth = list[dict[str, Tensor]]


def make_model(classes: int) -> Any:
    torch.manual_seed(0)
    return detection.fcos_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=classes, min_size=200, max_size=330
    )


def random_heads(classes: int, sizes: Any, batch: int, dtype: torch.dtype) -> list[list[Tensor]]:
    """As a head gives them: distances behind a ReLU, some of them 0."""
    maps = [
        [torch.randn(batch, channels, *size, dtype=dtype) for size in sizes]
        for channels in (classes, 4, 1)
    ]
    maps[0] = [m - 3.0 for m in maps[0]]
    maps[1] = [(2 * m + 1).relu() for m in maps[1]]
    return maps


def random_truth(per_image: Sequence[int], padded: tuple[int, int], classes: int) -> Truth:
    truth = []
    for count in per_image:
        corners = torch.rand(count, 2, 2) * torch.tensor([padded[1], padded[0]])
        boxes = torch.cat([corners.amin(1), corners.amax(1)], 1)
        truth.append({"boxes": boxes, "labels": torch.randint(classes, (count,))})
    return truth


def joined(truth: Truth) -> tuple[Tensor, Tensor, Tensor]:
    counts = torch.tensor([0] + [len(image["labels"]) for image in truth])
    boxes = torch.cat([image["boxes"] for image in truth])
    return boxes, torch.cat([image["labels"] for image in truth]), counts.cumsum(0)


def theirs(model: Any, heads: list[list[Tensor]], padded: tuple[int, int], truth: Truth) -> Any:
    flat = {
        name: torch.cat([m.permute(0, 2, 3, 1).flatten(1, 2) for m in maps], 1)
        for name, maps in zip(HEADS, heads, strict=True)
    }
    batch = len(truth)
    images = detection.image_list.ImageList(torch.zeros(batch, 3, *padded), [padded] * batch)
    anchors = model.anchor_generator(images, [m.detach().float() for m in heads[0]])
    per_level = [m.shape[2] * m.shape[3] for m in heads[0]]
    return tuple(model.compute_loss(truth, flat, anchors, per_level).values())


def ours(heads: list[list[Tensor]], padded: tuple[int, int], truth: Truth) -> Any:
    sizes = [(m.shape[2], m.shape[3]) for m in heads[0]]
    levels = fcos_ops.pyramid_levels(sizes, image_size=padded, rule="torchvision")
    return fcos_ops.fcos_loss(*heads, *joined(truth), levels=levels, rule="torchvision")


def assert_same(
    model: Any, heads: list[list[Tensor]], padded: tuple[int, int], truth: Truth
) -> None:
    """Losses and gradients are equal as near as float32 comes to float64, in which torchvision
    computes here, but for targets: its own float32 sums are farther off."""
    wide = [[m.detach().double().requires_grad_() for m in head] for head in heads]
    narrow = [[m.detach().requires_grad_() for m in head] for head in heads]
    expected, found = theirs(model, wide, padded, truth), ours(narrow, padded, truth)
    assert (found.num_pos > 0) == any(len(image["labels"]) for image in truth)
    for one, other in zip(found[:3], expected, strict=True):
        assert_near(one.detach(), other.detach(), torch.float32)
    leaves, wide_leaves = sum(narrow, []), sum(wide, [])
    gradients = torch.autograd.grad(sum(found[:3]), leaves)
    for one, other in zip(gradients, torch.autograd.grad(sum(expected), wide_leaves), strict=True):
        assert_near(one, other, torch.float32)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("per_image", [(5,), (3, 0, 40), (0, 0)], ids=str)
@pytest.mark.parametrize("pyramid", PYRAMIDS)
def test_random_heads(pyramid: str, per_image: tuple[int, ...], layout: Any) -> None:
    padded, sizes = PYRAMIDS[pyramid]
    heads = random_heads(7, sizes, len(per_image), torch.float32)
    heads = [[m.contiguous(memory_format=layout) for m in head] for head in heads]
    assert_same(make_model(7), heads, padded, random_truth(per_image, padded, 7))


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=WITHOUT_PHOTOS)
@pytest.mark.parametrize("batch", [1, 3])
def test_heads_on_photos(batch: int) -> None:
    """Photos and annotations of COCO through torchvision's transform, backbone and head."""
    from fcos.data import CocoDataset, find_split
    from fcos.preprocessing import Preprocessing

    dataset = CocoDataset(*find_split(PHOTOS, "val"), Preprocessing(size=200, max_size=330))
    samples = [dataset[i] for i in range(batch)]
    truth = [{"boxes": s.boxes, "labels": s.labels} for s in samples]
    assert all(len(s.boxes) for s in samples)
    model = make_model(80).train()
    caught: dict[str, Any] = {}

    def catch(targets: Any, heads: Any, anchors: Any, per_level: Any) -> Any:
        caught.update(targets=targets, heads=heads)
        return {}

    def catch_sizes(images: Any, features: list[Tensor]) -> Any:
        caught.update(padded=tuple(images.tensors.shape[2:]))
        caught["sizes"] = [tuple(f.shape[2:]) for f in features]
        return anchor_generator(images, features)

    anchor_generator = model.anchor_generator.forward
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(model, "compute_loss", catch)
        patch.setattr(model.anchor_generator, "forward", catch_sizes)
        model([s.image for s in samples], truth)
    sizes = caught["sizes"]
    counts = [h * w for h, w in sizes]
    flat = [caught["heads"][name].split(counts, 1) for name in HEADS]
    heads = [
        [m.unflatten(1, size).permute(0, 3, 1, 2) for m, size in zip(maps, sizes, strict=True)]
        for maps in flat
    ]
    assert_same(model, heads, caught["padded"], caught["targets"])
