"""A file of torchvision's weights gives its losses and detections, from image files on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.repository import PHOTOS, WITHOUT_PHOTOS

pytestmark = [
    pytest.mark.torchvision,
    pytest.mark.skipif(not PHOTOS.is_dir(), reason=WITHOUT_PHOTOS),
]
detection = pytest.importorskip("torchvision.models.detection", reason="torchvision not installed")
transforms = pytest.importorskip("torchvision.transforms.functional", reason="no torchvision")

COUNT = 20
SIDES = (256, 427)  # of 800 and 1333, for the sake of time; the rule of the sizes is the same


@pytest.fixture(scope="module")
def theirs() -> Any:
    """Random weights whose batch norms have seen photos, and whose classes are likely enough that
    each photo has detections."""
    torch.manual_seed(0)
    model = detection.fcos_resnet50_fpn(
        weights=None, weights_backbone=None, min_size=SIDES[0], max_size=SIDES[1]
    )
    head = model.head
    torch.nn.init.normal_(head.classification_head.cls_logits.weight, std=0.05)
    torch.nn.init.constant_(head.classification_head.cls_logits.bias, -1.0)
    torch.nn.init.normal_(head.regression_head.bbox_reg.weight, std=0.05)
    torch.nn.init.constant_(head.regression_head.bbox_reg.bias, 1.0)
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(*their_samples(range(4)))
    return model


def content() -> Any:
    return json.loads((PHOTOS / "annotations" / "instances_val2017.json").read_text())


def their_samples(indices: Any) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Photos and boxes as torchvision's reference scripts read them: pixels in [0, 1], boxes
    clamped to the image, no crowds, category ids for labels."""
    from PIL import Image

    annotations = content()
    entries = sorted(annotations["images"], key=lambda entry: entry["id"])
    images, targets = [], []
    for index in indices:
        entry = entries[index]
        with Image.open(PHOTOS / "val2017" / entry["file_name"]) as image:
            images.append(transforms.to_tensor(image.convert("RGB")))
        own = [
            a
            for a in annotations["annotations"]
            if a["image_id"] == entry["id"] and not a["iscrowd"]
        ]
        boxes = torch.tensor([a["bbox"] for a in own], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes[:, 0::2].clamp_(0, entry["width"])
        boxes[:, 1::2].clamp_(0, entry["height"])
        labels = torch.tensor([a["category_id"] for a in own], dtype=torch.int64)
        keep = (boxes[:, 3] > boxes[:, 1]) & (boxes[:, 2] > boxes[:, 0])
        targets.append({"boxes": boxes[keep], "labels": labels[keep]})
    return images, targets


@pytest.fixture(scope="module")
def file(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state dictionary as torchvision saves it."""
    path = tmp_path_factory.mktemp("weights") / "fcos.pth"
    torch.save(theirs.state_dict(), path)
    return path


def test_both_spellings_of_the_pyramid(theirs: Any, file: Path, tmp_path: Path) -> None:
    """Before torchvision 0.13 its names had one number less."""
    blocks = ("backbone.fpn.inner_blocks.", "backbone.fpn.layer_blocks.")
    state = {_old(name, blocks): value for name, value in theirs.state_dict().items()}
    assert "backbone.fpn.inner_blocks.2.weight" in state
    torch.save(state, tmp_path / "old.pth")
    today, old = load(file), load(tmp_path / "old.pth")
    assert today.config == old.config
    for name, value in theirs.state_dict().items():
        assert torch.equal(today.state_dict()[name], value), name
        assert torch.equal(old.state_dict()[name], value), name


def _old(name: str, blocks: tuple[str, ...]) -> str:
    """`inner_blocks.2.0.weight` -> `inner_blocks.2.weight`"""
    if not name.startswith(blocks):
        return name
    *head, _, last = name.split(".")
    return ".".join([*head, last])


def our_dataset(model: Any) -> Any:
    from fcos.data import CocoDataset, find_split

    sides = model.config.preprocessing._replace(size=SIDES[0], max_size=SIDES[1])
    return CocoDataset(*find_split(PHOTOS, "val"), sides)


def load(file: Path) -> Any:
    from fcos.detectors import load_model

    return load_model(file)


def test_losses(theirs: Any, file: Path) -> None:
    from fcos.data import collate
    from fcos.models import LOSS_NAMES
    from fcos.structures import GroundTruth

    ours = load(file).train()
    theirs.train()
    before = {name: value.clone() for name, value in theirs.state_dict().items()}
    dataset = our_dataset(ours)
    # torchvision's channel is the category id; the data set numbers its own classes
    channels = torch.tensor(dataset.category_ids)
    for first in range(0, COUNT, 5):
        indices = range(first, first + 5)
        with torch.no_grad():
            expected = theirs(*their_samples(indices))
            batch = collate([dataset[i] for i in indices])
            truth = GroundTruth(
                batch.truth.boxes, channels[batch.truth.labels], batch.truth.offsets
            )
            found = ours(batch.images, truth)
        for name in LOSS_NAMES:
            assert float(found[name]) == pytest.approx(float(expected[name]), rel=1e-5), name
    theirs.load_state_dict(before)


def test_detections(theirs: Any, file: Path) -> None:
    from fcos.data import collate

    ours = load(file)
    theirs.eval()
    dataset = our_dataset(ours)
    for index in range(COUNT):
        (image,), _ = their_samples([index])
        batch = collate([dataset[index]])
        with torch.no_grad():
            (expected,) = theirs([image])
            found = ours.detect(batch.images, original_sizes=batch.original_sizes)
        count = int(found.count)
        assert count == len(expected["scores"]) >= 50
        torch.testing.assert_close(found.scores[0, :count], expected["scores"], rtol=0, atol=1e-5)
        # torchvision rounds the ratio, with which a box may leave the image by the last bit
        limit = torch.tensor([image.shape[2], image.shape[1]] * 2)
        boxes = torch.minimum(expected["boxes"], limit)
        # scores that differ by rounding alone may change places
        near = (found.scores[0, :count, None] - expected["scores"]).abs() <= 1e-5
        near &= (found.boxes[0, :count, None] - boxes).abs().amax(-1) <= 1e-3
        near &= found.labels[0, :count, None] == expected["labels"]
        assert near.any(0).all() and near.any(1).all(), (~near.any(0)).nonzero()


def test_channels_without_a_category_are_left_out(theirs: Any, file: Path) -> None:
    """91 channels on COCO's annotations, whose 80 categories have 80 of them."""
    from fcos.detection.dataset import describe_unused, evaluate, match_categories

    ours = load(file)
    dataset = our_dataset(ours)
    matched = match_categories(ours.config, dataset)
    expected = {c["id"] for c in content()["categories"]}
    assert {number for number in matched if number is not None} == expected
    assert matched[1] == 1 and matched[90] == 90 and matched[0] is matched[12] is None
    assert describe_unused(ours.config, matched).startswith(f"{91 - len(expected)} of 91 channels")
    dataset.annotated.images = dataset.annotated.images[:4]
    _, results = evaluate(ours, dataset)
    assert results and {result["category_id"] for result in results} <= expected
