"""Detection on image files, and pictures of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from .data import CocoDataset, Sample, collate
from .data.images import load_image
from .data.transforms import resize, to_tensor
from .drawing import DrawnBox, caption, draw_boxes, side_by_side
from .evaluation import predict
from .files import atomic_path, write_json
from .models import FCOS
from .training import InputSize


def detect_file(
    model: FCOS, path: str | os.PathLike[str], input_size: InputSize
) -> tuple[Image.Image, list[dict[str, Any]]]:
    """An image file and its detections: category_id, category, bbox (x y width height), score.

    The boxes are in pixels of the file as stored, best score first.
    """
    image = load_image(path)
    resized, _ = resize(image, torch.zeros(0, 4), *input_size)
    empty = torch.zeros(0, dtype=torch.int64)
    sample = Sample(to_tensor(resized), torch.zeros(0, 4), empty, 0, (image.height, image.width))
    names = dict(zip(model.config.category_ids, model.config.class_names, strict=True))
    found = predict(model, [collate([sample])])
    for result in found:
        del result["image_id"]
        result["category"] = names[result["category_id"]]
    return image, found


def draw_results(
    model: FCOS, image: Image.Image, results: Sequence[dict[str, Any]], min_score: float
) -> Image.Image:
    """The image with the results of at least this score."""
    config = model.config
    drawn = []
    for result in results:
        if result["score"] >= min_score:
            x, y, width, height = result["bbox"]
            channel = config.category_ids.index(result["category_id"])
            text = caption(config.class_names[channel], result["score"])
            drawn.append(DrawnBox((x, y, x + width, y + height), channel, text))
    return draw_boxes(image, drawn[::-1])  # the best on top


def draw_beside_truth(
    model: FCOS,
    dataset: CocoDataset,
    index: int,
    results: Sequence[dict[str, Any]],
    min_score: float,
) -> Image.Image:
    """Ground truth of image `index` on the left, its detections on the right.

    results: COCO results of the whole data set, as from `evaluate`.
    """
    info = dataset.images[index]
    image = dataset.load(index)
    boxes, labels = dataset.boxes(index, image.height, image.width)
    truth = []
    for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels.tolist(), strict=True):
        truth.append(DrawnBox((x1, y1, x2, y2), label, caption(dataset.class_names[label])))
    own = [result for result in results if result["image_id"] == info["id"]]
    return side_by_side(
        [
            ("ground truth", draw_boxes(image, truth)),
            (f"detections (score >= {min_score:g})", draw_results(model, image, own, min_score)),
        ]
    )


def draw_dataset(
    model: FCOS,
    dataset: CocoDataset,
    results: Sequence[dict[str, Any]],
    output: str | os.PathLike[str],
    *,
    min_score: float,
) -> None:
    """Write output/<image file name>.png for every image of the data set; see draw_beside_truth."""
    used: set[str] = set()
    for index, info in enumerate(dataset.images):
        name = _unused(Path(info["file_name"]).stem, used)
        with atomic_path(Path(output) / f"{name}.png") as temporary:
            draw_beside_truth(model, dataset, index, results, min_score).save(temporary)


def detect_files(
    model: FCOS,
    paths: Sequence[str | os.PathLike[str]],
    input_size: InputSize,
    output: str | os.PathLike[str],
    *,
    min_score: float,
) -> Path:
    """Write output/detections.json and a drawn output/<name>.png each; return the JSON's path.

    The JSON lists every detection; the pictures show those of at least `min_score`.
    """
    root = Path(output)
    report = []
    used: set[str] = set()
    for path in paths:
        image, results = detect_file(model, path, input_size)
        name = _unused(Path(path).stem, used)
        with atomic_path(root / f"{name}.png") as temporary:
            draw_results(model, image, results, min_score).save(temporary)
        report.append({"file": str(path), "picture": f"{name}.png", "detections": results})
    write_json(root / "detections.json", report)
    return root / "detections.json"


def _unused(stem: str, used: set[str]) -> str:
    """`stem`, numbered where another image of that name was there before."""
    name, number = stem, 1
    while name in used:
        number += 1
        name = f"{stem}-{number}"
    used.add(name)
    return name
