"""A hand-made data set in COCO format and a network small enough for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fcos.detection.inference import ImageDetections
from fcos.models import FCOS, ModelConfig
from fcos.preprocessing import Preprocessing
from PIL import Image
from torch import Tensor, nn

# options of `fcos train` for a network like `small_model`
SMALL = (
    "--backbone resnet18 --backbone-width 8 --width 16 --depth 1 --norm gn --size 64 --max-size 96 "
    "--batch 2 --device cpu"
).split()
CATEGORIES = [{"id": 7, "name": "cup"}, {"id": 3, "name": "ball"}, {"id": 40, "name": "hat"}]


def write_dataset(
    root: Path, split: str, images: list[dict[str, Any]], annotations: list[dict[str, Any]]
) -> None:
    """Images of noise, with the mode that each entry's "mode" asks for, and their annotations."""
    rng = np.random.default_rng(0)
    folder = root / split
    folder.mkdir(parents=True, exist_ok=True)
    (root / "annotations").mkdir(exist_ok=True)
    for image in images:
        pixels = rng.integers(0, 256, (image["height"], image["width"], 3)).astype(np.uint8)
        Image.fromarray(pixels).convert(image.pop("mode", "RGB")).save(folder / image["file_name"])
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    path = root / "annotations" / f"instances_{split}.json"
    path.write_text(json.dumps(content))


def image_entry(number: int, width: int, height: int, mode: str = "RGB") -> dict[str, Any]:
    name = f"{number}.png"
    return {"id": number, "file_name": name, "width": width, "height": height, "mode": mode}


def annotation(image: int | str, category: int, bbox: list[float], **more: Any) -> dict[str, Any]:
    return {"id": 0, "image_id": image, "category_id": category, "bbox": bbox, **more}


def small_model(**changes: Any) -> FCOS:
    """A network of a few thousand weights for the three categories, always the same."""
    torch.manual_seed(0)
    values = {
        "class_names": ("ball", "cup", "hat"),
        "category_ids": (3, 7, 40),
        "backbone": "resnet18",
        "backbone_width": 8,
        "width": 16,
        "depth": 1,
        "norm": "gn",
    }
    return FCOS(ModelConfig(**{**values, **changes}))


def decided_model(**changes: Any) -> FCOS:
    """A `small_model` for small images that finds much, with scores that differ widely."""
    model = small_model(**{"preprocessing": Preprocessing(40, 64), **changes})
    logits = model.head.classification_head.cls_logits
    torch.nn.init.normal_(logits.weight, std=0.2)
    torch.nn.init.constant_(logits.bias, 0.0)
    return model


def same_detections(found: ImageDetections, expected: ImageDetections) -> None:
    """Convolutions of another batch may round the last bits otherwise."""
    assert found.names == expected.names and found.category_ids == expected.category_ids
    assert torch.equal(found.labels, expected.labels) and len(found.names)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.boxes, expected.boxes, rtol=1e-5, atol=1e-3)


def count_multiply_adds(model: nn.Module, images: Tensor) -> int:
    """Multiplications of the convolutions in a forward pass, on any device, the meta one too."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d)
        total += output.numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return total
