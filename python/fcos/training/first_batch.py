"""A picture of the first batch of a training: what the network is given to learn from."""

from __future__ import annotations

import os
import sys

from PIL import Image
from tqdm import tqdm

from ..data import Batch, DetectionDataset
from ..pictures.drawing import DrawnBox, caption, draw_scaled, grid
from ..pictures.files import save_picture

_MOST_IMAGES = 16


def write_first_batch(
    path: str | os.PathLike[str], batch: Batch, dataset: DetectionDataset
) -> None:
    """Draw the first images of a batch with their boxes into a PNG.

    A picture is no reason to end a training: where it cannot be made, a line on stderr says why.
    """
    try:
        count = min(_MOST_IMAGES, len(batch.image_ids))
        pictures = [_draw(batch, index, dataset) for index in range(count)]
        save_picture(grid(pictures), path)
    except Exception as error:
        reason = str(error) or type(error).__name__
        tqdm.write(f"fcos: {path} could not be drawn: {reason}", file=sys.stderr)


def _draw(batch: Batch, index: int, dataset: DetectionDataset) -> Image.Image:
    """Image `index` of the batch as the network sees it, its padding included."""
    begin, end = batch.truth.offsets[index : index + 2].tolist()
    boxes = batch.truth.boxes[begin:end].tolist()
    labels = batch.truth.labels[begin:end].tolist()
    drawn = [
        DrawnBox((x1, y1, x2, y2), label, caption(dataset.class_names[label]))
        for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True)
    ]
    picture = dataset.preprocessing.picture(batch.images.tensor[index])
    return draw_scaled(picture, drawn)
