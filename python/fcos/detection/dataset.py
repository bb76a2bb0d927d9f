"""Detection on a data set, and which of its categories the detector knows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..data import Batch, DetectionDataset, evaluation_loader
from ..data.loading import OnUnread, raise_unread
from ..distributed.processes import Processes
from ..errors import UserError, a_few, brief
from ..evaluation.average_precision import coco_metrics
from ..files import check_replaceable
from ..models import FCOS, ModelConfig
from .inference import Detector, detect_batch

_RESULTS = (b"[]", b'[{"image_id": ')  # how a file of results begins


def predict(
    model: FCOS, loader: Iterable[Batch], *, min_score: float | None = None, progress: bool = False
) -> list[dict[str, Any]]:
    """Detections in COCO's result format: image_id, category_id, bbox (x y width height), score;
    from `min_score` on, or, if None, as the model's config has it.

    Boxes are in pixels of the image files; the category ids are those of the model's config. Puts
    the model into evaluation mode.
    """
    model.eval()
    rule, least = Detector(model).rule(min_score)
    results: list[dict[str, Any]] = []
    # below a training's bar it goes once it is done
    bar = tqdm(loader, desc="detect", unit="batch", disable=not progress, leave=None)
    for batch in bar:
        found = detect_batch(model, batch.images, batch.original_sizes, rule, min_score=least)
        for image_id, detections in zip(batch.image_ids, found, strict=True):
            results += [{"image_id": image_id, **row} for row in detections.to_coco()]
    return results


def detect_dataset(
    model: FCOS,
    dataset: DetectionDataset,
    *,
    batch: int = 8,
    workers: int = 0,
    min_score: float | None = None,
    progress: bool = False,
    processes: Processes | None = None,
    on_unread: OnUnread = raise_unread,
) -> list[dict[str, Any]]:
    """Detections of a model on a data set, of the categories in the data: see `predict`.

    Args:
        on_unread: see `evaluation_loader`; without it an image that cannot be read is an error, so
            that no metric is of fewer images than it seems.
        processes: that share the batches; the first then has the detections of all, as if it had
            been alone, and the others none. The model is everywhere what it is in the first.

    Raises: as `match_categories`; UserError also where the processes have other arguments.
    """
    processes = processes or Processes()
    if processes.world > 1:
        options = {"batch": batch, "score_threshold": min_score}
        processes.check_alike({**options, **_what_decides(model, dataset)})
    matched = set(match_categories(model.config, dataset))
    processes.share(model)
    loader = evaluation_loader(
        dataset,
        batch=batch,
        workers=workers,
        rank=processes.rank,
        world=processes.world,
        on_unread=on_unread,
    )
    found = predict(model, loader, min_score=min_score, progress=progress and processes.first)
    own = [result for result in found if result["category_id"] in matched]
    results = [result for share in processes.gather(own) for result in share]
    places = {
        number: place
        for place, number in enumerate(image["id"] for image in dataset.annotated.images)
    }
    return sorted(results, key=lambda result: places[result["image_id"]])


def _what_decides(model: FCOS, dataset: DetectionDataset) -> dict[str, Any]:
    """What decides which detections a model gives on a data set, but its weights."""
    classes = None
    if model.detected_classes is not None:
        channels = model.detected_classes.nonzero().flatten().tolist()
        classes = [model.config.category_name(channel) for channel in channels]
    return {
        **model.config.to_dict(),
        "preprocessing": dataset.preprocessing.to_dict(),
        "classes": classes,
        **dataset.summary(),
    }


def evaluate(
    model: FCOS,
    dataset: DetectionDataset,
    *,
    batch: int = 8,
    workers: int = 0,
    progress: bool = False,
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Metrics of a model on a data set, and its detections. Raises: as `match_categories`."""
    results = detect_dataset(model, dataset, batch=batch, workers=workers, progress=progress)
    return coco_metrics(dataset.ground_truth(), results), results


def match_categories(config: ModelConfig, dataset: DetectionDataset) -> tuple[int | None, ...]:
    """The category of each channel in the data: None where it stands for none of them.

    Raises:
        UserError: a category of the data has no channel, or one of another name.
    """
    known = dict(zip(config.category_ids, config.class_names, strict=True))
    for number, name in zip(dataset.category_ids, dataset.class_names, strict=True):
        if known.get(number) not in (name, ""):  # a file of weights may hold no names
            own = "none" if number not in known else f"{number} {brief(known[number])}"
            names = [
                config.category_name(channel)
                for channel, known_id in enumerate(config.category_ids)
                if known_id is not None
            ]
            raise UserError(
                f"the model knows {len(names)} categories, {a_few(names)}; "
                f"the data has {len(dataset.class_names)}, {a_few(dataset.class_names)}: "
                f"{own} against {number} {brief(name)}"
            )
    there = set(dataset.category_ids)
    return tuple(number if number in there else None for number in config.category_ids)


def describe_unused(config: ModelConfig, category_ids: Sequence[int | None]) -> str:
    """Which channels stand for no category of the data; "" where all do."""
    unused = [channel for channel, number in enumerate(category_ids) if number is None]
    if not unused:
        return ""
    count = f"{len(unused)} of {config.num_classes}"
    return f"{count} channels stand for no category of the data: {a_few(unused)}"


def check_results_file(path: str | os.PathLike[str]) -> None:
    """UserError where a file is there that does not hold results, and would be lost."""
    check_replaceable(path)
    if os.path.exists(path):
        with Path(path).open("rb") as file:
            if not file.read(len(_RESULTS[-1])).startswith(_RESULTS):
                raise UserError(f"{path} is there and holds no detections: choose another --output")
