"""What each command of the command line does; the options are in `cli`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch

from . import demo as demo_module
from .data import CocoDataset, find_split
from .detection import detect_files, draw_dataset
from .evaluation import evaluate as evaluate_model
from .evaluation import format_metrics
from .files import write_json
from .models import FCOS, ModelConfig, load_backbone_weights
from .scenes import write_scenes
from .training import InputSize, Trainer, TrainingError, TrainingSettings, load_model
from .training.trainer import CHECKPOINT_NAME

# errors whose message tells a user what to change; shown without a traceback
USER_ERRORS = (ValueError, OSError, TrainingError)


def train(options: argparse.Namespace) -> None:
    """`fcos train`."""
    device = _device(options.device)
    annotations, images = find_split(options.data, options.split)
    size = {"size": options.size, "max_size": max(options.size, options.max_size)}
    dataset = CocoDataset(annotations, images, limit=options.limit, **size)
    validation = None
    if options.eval_every:
        validation = CocoDataset(*find_split(options.data, "val"), **size)
    settings = _settings(options, len(dataset))
    checkpoint = Path(options.output) / CHECKPOINT_NAME
    if checkpoint.exists() and not options.resume:
        raise ValueError(f"{checkpoint} exists: add --resume to go on, or choose another --output")

    torch.manual_seed(options.seed)
    model = FCOS(
        ModelConfig(
            class_names=dataset.class_names,
            category_ids=dataset.category_ids,
            preset=options.preset,
            backbone=options.backbone,
            norm=options.norm,
            backbone_width=options.backbone_width,
            width=options.width,
            depth=options.depth,
        )
    )
    if options.backbone_weights:
        load_backbone_weights(model.backbone.body, options.backbone_weights)
    trainer = Trainer(model.to(device), dataset, settings, options.output)
    if options.resume:
        trainer.resume(checkpoint)
    print(
        f"{len(dataset)} images, {model.config.num_classes} classes, "
        f"{settings.steps} steps of {settings.batch} images on {device}"
    )
    evaluated = 0
    for record in trainer.run():
        due = int(record.epoch / options.eval_every) if options.eval_every else 0
        if validation is not None and (due > evaluated or record.step == settings.steps):
            evaluated = due
            metrics, _ = evaluate_model(trainer.final_model, validation, batch=settings.batch)
            print(f"\nepoch {record.epoch:g}: {format_metrics(metrics)}")
            trainer.write_metrics({"step": record.step, "epoch": record.epoch, **metrics})
    print(f"wrote {checkpoint}")


def _settings(options: argparse.Namespace, images: int) -> TrainingSettings:
    steps = options.steps or max(1, math.ceil(options.epochs * images / options.batch))
    # published: 0.01 for SGD at 16 images a step, in proportion for other batches
    lr = 0.01 * options.batch / 16 if options.optimizer == "sgd" else 5e-4
    return TrainingSettings(
        steps=steps,
        batch=options.batch,
        lr=lr if options.lr is None else options.lr,
        optimizer=options.optimizer,
        weight_decay=options.weight_decay,
        schedule=options.schedule,
        warmup=min(500, steps // 10) if options.warmup is None else options.warmup,
        clip=options.clip,
        ema=options.ema,
        amp=options.amp,
        seed=options.seed,
        workers=options.workers,
        flip=options.flip,
        log_every=options.log_every,
        checkpoint_every=options.checkpoint_every,
    )


def evaluate(options: argparse.Namespace) -> None:
    """`fcos eval`."""
    model, input_size = load_model(options.weights, _device(options.device))
    size, max_size = _input_size(options, input_size)
    annotations, images = find_split(options.data, options.split)
    dataset = CocoDataset(annotations, images, size=size, max_size=max_size, limit=options.limit)
    metrics, results = evaluate_model(
        model, dataset, batch=options.batch, workers=options.workers, progress=True
    )
    if options.output:
        write_json(options.output, results)
        print(f"wrote {options.output}")
    if options.draw:
        draw_dataset(model, dataset, results, options.draw, min_score=options.min_score)
        print(f"drew {len(dataset)} pictures into {options.draw}")
    print(f"{len(dataset)} images, {len(results)} detections")
    print(format_metrics(metrics))


def detect(options: argparse.Namespace) -> None:
    """`fcos detect`."""
    model, input_size = load_model(options.weights, _device(options.device))
    report = detect_files(
        model,
        options.images,
        _input_size(options, input_size),
        options.output,
        min_score=options.min_score,
    )
    print(f"wrote {report} and {len(options.images)} pictures beside it")


def scenes(options: argparse.Namespace) -> None:
    """`fcos scenes`."""
    write_scenes(
        options.output, train=options.train, val=options.val, size=options.size, seed=options.seed
    )
    print(f"wrote {options.train} + {options.val} scenes into {options.output}")


def demo(options: argparse.Namespace) -> None:
    """`fcos demo`."""
    demo_module.run(options.output, seed=options.seed)


def _input_size(options: argparse.Namespace, trained: InputSize) -> InputSize:
    size = options.size or trained.size
    return InputSize(size, max(size, options.max_size or trained.max_size))


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"--device: expected cpu, cuda or cuda:N, got {name!r}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {name}: PyTorch sees no CUDA device here")
    return device
