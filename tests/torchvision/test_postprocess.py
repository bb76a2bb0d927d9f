"""The preset `torchvision` finds the detections of FCOS.postprocess_detections in torchvision."""

from typing import Any

import pytest
import torch
from torch import Tensor

import fcos_ops
from fcos_ops.results import Detections
from tests.repository import PHOTOS, WITHOUT_PHOTOS

pytestmark = pytest.mark.torchvision
detection = pytest.importorskip("torchvision.models.detection", reason="torchvision not installed")

CLASSES = 7
HEADS = ("cls_logits", "bbox_regression", "bbox_ctrness")


@pytest.fixture(scope="module")
def model() -> Any:
    """Random weights, with logits that vary more than those of an untrained model."""
    torch.manual_seed(0)
    model = detection.fcos_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=CLASSES, min_size=200, max_size=330
    ).eval()
    with torch.no_grad():
        head = model.head.classification_head.cls_logits
        head.weight.normal_(std=0.1)
        head.bias.fill_(-2.0)
        model.head.regression_head.bbox_reg.bias.fill_(1.0)
    return model


def unflatten(flat: dict[str, list[Tensor]], sizes: list[tuple[int, int]]) -> list[list[Tensor]]:
    """torchvision's [B, H * W, C] tensors as [B, C, H, W] views of the same memory."""
    return [
        [
            t.unflatten(1, size).permute(0, 3, 1, 2)
            for t, size in zip(flat[name], sizes, strict=True)
        ]
        for name in HEADS
    ]


def ours(
    heads: list[list[Tensor]],
    padded: tuple[int, int],
    shapes: list[tuple[int, int]],
    original_sizes: Tensor | None = None,
) -> Detections:
    sizes = [tuple(t.shape[2:]) for t in heads[0]]
    levels = fcos_ops.pyramid_levels(sizes, image_size=padded, rule="torchvision")
    return fcos_ops.postprocess(
        *heads,
        torch.tensor(shapes),
        levels=levels,
        original_sizes=original_sizes,
        rule="torchvision",
    )


def assert_same(found: Detections, expected: list[dict[str, Tensor]]) -> None:
    """Boxes are equal bit by bit; scores differ by the rounding of exp."""
    assert found.count.tolist() == [len(image["scores"]) for image in expected]
    for b, image in enumerate(expected):
        count = len(image["scores"])
        assert torch.equal(found.labels[b, :count], image["labels"])
        assert torch.equal(found.boxes[b, :count], image["boxes"])
        torch.testing.assert_close(found.scores[b, :count], image["scores"], rtol=1e-6, atol=0)


# (padded image, sizes of the feature maps)
PYRAMIDS = {
    "800x1344": ((800, 1344), [(100, 168), (50, 84), (25, 42), (13, 21), (7, 11)]),
    "608x1088": ((608, 1088), [(76, 136), (38, 68), (19, 34), (10, 17), (5, 9)]),
    "64x96": ((64, 96), [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]),
}


@pytest.mark.parametrize("bias", [-20.0, -5.0, 1.0], ids=["empty", "sparse", "dense"])
@pytest.mark.parametrize("pyramid", PYRAMIDS)
def test_random_logits(model: Any, pyramid: str, bias: float) -> None:
    """Also more than candidates_per_level above the threshold, and an empty image among others."""
    padded, sizes = PYRAMIDS[pyramid]
    for batch in (1, 3):
        shapes = [(padded[0] - 31 * b, padded[1] - 17 * b) for b in range(batch)]
        flat = {
            name: [torch.randn(batch, h * w, channels) * 1.5 for h, w in sizes]
            for name, channels in zip(HEADS, (CLASSES, 4, 1), strict=True)
        }
        flat["cls_logits"] = [t + bias for t in flat["cls_logits"]]
        flat["bbox_regression"] = [(t + 2).relu() for t in flat["bbox_regression"]]
        for t in flat["cls_logits"]:
            t[1:2] = -20.0
        images = detection.image_list.ImageList(torch.zeros(batch, 3, *padded), shapes)
        anchors = model.anchor_generator(images, [torch.zeros(batch, 1, *size) for size in sizes])
        per_level = [list(a.split([h * w for h, w in sizes])) for a in anchors]
        expected = model.postprocess_detections(flat, per_level, shapes)
        found = ours(unflatten(flat, sizes), padded, shapes)
        assert_same(found, expected)
        contiguous = [[t.contiguous() for t in head] for head in unflatten(flat, sizes)]
        assert_same(ours(contiguous, padded, shapes), expected)
        assert (found.count[0] > 0) == (bias > -20)


def photos(count: int) -> list[Tensor]:
    from fcos.data import CocoDataset, find_split
    from fcos.preprocessing import Preprocessing

    dataset = CocoDataset(*find_split(PHOTOS, "val"), Preprocessing(size=200, max_size=330))
    return [dataset[i].image for i in range(count)]


@pytest.mark.parametrize("shapes", [[(200, 301)], [(240, 180), (97, 133), (50, 310)]], ids=str)
def test_head_outputs_on_noise(model: Any, shapes: list[tuple[int, int]]) -> None:
    check_images(model, [torch.rand(3, *shape) for shape in shapes])


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=WITHOUT_PHOTOS)
@pytest.mark.parametrize("batch", [1, 3])
def test_head_outputs_on_photos(model: Any, batch: int) -> None:
    check_images(model, photos(batch))


def check_images(model: Any, images: list[Tensor]) -> None:
    """From images of odd sizes through backbone and head, with what postprocess_detections gets."""
    caught: dict[str, Any] = {}
    postprocess, anchor_generator = model.postprocess_detections, model.anchor_generator.forward

    def catch_outputs(heads: Any, anchors: Any, image_shapes: Any) -> Any:
        caught.update(heads=heads, shapes=image_shapes)
        found = postprocess(heads, anchors, image_shapes)
        caught["detections"] = [dict(image) for image in found]  # the caller will rescale boxes
        return found

    def catch_sizes(images: Any, features: list[Tensor]) -> Any:
        caught.update(padded=tuple(images.tensors.shape[2:]))
        caught["sizes"] = [tuple(f.shape[2:]) for f in features]
        return anchor_generator(images, features)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(model, "postprocess_detections", catch_outputs)
        patch.setattr(model.anchor_generator, "forward", catch_sizes)
        rescaled = model(images)
    heads = unflatten(caught["heads"], caught["sizes"])
    found = ours(heads, caught["padded"], caught["shapes"])
    assert found.count.min() > 0
    assert_same(found, caught["detections"])
    original_sizes = torch.tensor([image.shape[1:] for image in images])
    for image, size in zip(rescaled, original_sizes, strict=True):
        # torchvision rounds the ratio, with which a box may leave the image by the last bit.
        image["boxes"] = torch.minimum(image["boxes"], size.flip(0).repeat(2))
    assert_same(ours(heads, caught["padded"], caught["shapes"], original_sizes), rescaled)
