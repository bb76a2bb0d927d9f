"""`fcos demo`: everything once, in a few minutes on two CPU cores."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

import fcos_ops

from . import op_report
from .data import CocoDataset, find_split
from .detection.dataset import evaluate
from .errors import UserError
from .evaluation.report import format_metrics
from .models import FCOS, ModelConfig
from .names import CHECKPOINT_NAME
from .pictures.drawing import grid
from .pictures.files import save_picture
from .pictures.gallery import Gallery
from .preprocessing import Preprocessing
from .scenes import write_scenes
from .training import Trainer, TrainingSettings

SIZE = 128  # pixels; scenes and training
PREPROCESSING = Preprocessing(size=SIZE, max_size=SIZE)
TRAIN_IMAGES = 2000
VAL_IMAGES = 200
DRAWN_IMAGES = 6
SETTINGS = TrainingSettings(
    steps=900,
    batch=16,
    lr=2e-3,
    optimizer="adamw",
    weight_decay=0.02,
    warmup=100,
    checkpoint_every=200,
)
MIN_SCORE = 0.4
MAX_OP_ERROR = 1e-4


def run(output: str | os.PathLike[str], *, seed: int = 0) -> float:
    """Check and time the ops, train on scenes, evaluate on others, draw. Returns the AP50.

    Writes scenes, checkpoint, metrics and pictures into `output`; the last line printed is
    `AP50 <value>`.

    Raises:
        UserError: `output` holds another training; an op disagrees with its reference.
    """
    root = Path(output)
    scenes, checkpoint = root / "scenes", root / CHECKPOINT_NAME
    if checkpoint.exists() and not scenes.exists():
        raise UserError(f"{checkpoint} is not of a demo: choose another --output")
    for name, value in fcos_ops.build_info().items():
        print(f"{name}: {value}")
    print("\nops against their references")
    error = op_report.print_report()
    if not error <= MAX_OP_ERROR:
        raise UserError(f"an op differs from its reference by {error:.1e} > {MAX_OP_ERROR:.0e}")

    print(f"\nscenes: {TRAIN_IMAGES} to train on, {VAL_IMAGES} held out, into {scenes}")
    write_scenes(scenes, train=TRAIN_IMAGES, val=VAL_IMAGES, size=SIZE, seed=seed)
    held_out = CocoDataset(*find_split(scenes, "val"), PREPROCESSING)

    print(f"\ntraining: {SETTINGS.steps} steps of {SETTINGS.batch} scenes")
    begin = time.perf_counter()
    model = _train(root, scenes, seed)
    print(f"trained in {time.perf_counter() - begin:.0f} s")

    metrics, results = evaluate(model, held_out, batch=SETTINGS.batch)
    print(f"\n{len(held_out)} held-out scenes\n{format_metrics(metrics)}")
    picture = root / "detections.png"
    annotated = held_out.annotated
    gallery = Gallery(annotated, annotated.ground_truth(), results, min_score=MIN_SCORE)
    pictures = [gallery.draw(index) for index in range(DRAWN_IMAGES)]
    save_picture(grid(pictures, columns=2), picture)
    print(f"wrote {picture}")
    print(f"AP50 {metrics['AP50']:.3f}")
    return metrics["AP50"]


def _train(root: Path, scenes: Path, seed: int) -> FCOS:
    dataset = CocoDataset(*find_split(scenes, "train"), PREPROCESSING)
    torch.manual_seed(seed)
    model = FCOS(
        ModelConfig(
            class_names=dataset.class_names,
            category_ids=dataset.category_ids,
            backbone="resnet18",
            backbone_width=16,
            width=64,
            depth=2,
        )
    )
    trainer = Trainer(model, dataset, SETTINGS, root)
    for _ in trainer.run():
        pass
    return trainer.final_model
