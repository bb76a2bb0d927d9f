"""What each command of the command line does; the options are in `cli`."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from . import demo as demo_module
from . import recipe
from .data import CocoDataset, find_split
from .detection import check_unused, detect_files, draw_dataset, plan_pictures
from .errors import UserError
from .evaluation import check_categories, check_results_file, format_metrics
from .evaluation import evaluate as evaluate_model
from .files import check_writable, write_json
from .inputs import describe, find_images
from .interrupts import Interrupted
from .models import FCOS, ModelConfig
from .preprocessing import PREPROCESSING, Preprocessing
from .scenes import write_scenes
from .training import Trainer, TrainingSettings, load_checkpoint, load_model
from .training.evaluations import EvaluationPlan
from .training.folder import RunFolder
from .training.processes import require_one_process
from .weights import load_backbone, read_backbone_weights


def train(options: argparse.Namespace) -> None:
    """`fcos train`."""
    require_one_process()
    device, checkpoint = _device(options.device), RunFolder(options.output).checkpoint
    content: dict[str, Any] = {}
    stored: recipe.Values = {}
    if options.resume:
        content = load_checkpoint(checkpoint, to_resume=True)
        stored = recipe.stored_values(content)
    elif checkpoint.exists():
        raise UserError(f"{checkpoint} exists: add --resume to go on, or choose another --output")
    values = recipe.merge(recipe.given_values(options), stored)
    sides = {name: values[name] for name in recipe.INPUT}
    preprocessing = PREPROCESSING[values["preset"]]._replace(**sides)
    split = find_split(options.data, values["split"])
    dataset = CocoDataset(*split, preprocessing, limit=values["limit"])
    print(f"{values['split']}: {dataset.contents}", flush=True)
    validation = None
    if values["eval_every"]:
        validation = CocoDataset(*find_split(options.data, "val"), preprocessing)
        print(f"val: {validation.contents}", flush=True)
    values = recipe.complete(values, len(dataset))
    trainer = _trainer(options, values, dataset, device)
    if validation is not None:
        check_categories(trainer.model, validation)
    print(
        f"{len(dataset.class_names)} classes, {values['steps']} steps of {values['batch']} images "
        f"on {device}",
        flush=True,
    )
    if options.resume:
        trainer.resume(content)
        print(f"already at step {trainer.step} of {values['steps']}", flush=True)
        if changed := recipe.changes(stored, values):
            print(f"other than before: {changed}", flush=True)
    begin = trainer.saved_step
    try:
        _run(trainer, validation, values["eval_every"])
    except (Exception, Interrupted):
        if trainer.saved_step > begin:
            print(f"{checkpoint} holds step {trainer.saved_step}: --resume goes on from there")
        raise
    if trainer.saved_step > begin:
        print(f"wrote {checkpoint}")


def _trainer(
    options: argparse.Namespace, values: recipe.Values, dataset: CocoDataset, device: torch.device
) -> Trainer:
    settings = {f.name: values[f.name] for f in fields(TrainingSettings) if f.name in values}
    torch.manual_seed(values["seed"])
    model = FCOS(
        ModelConfig(
            class_names=dataset.class_names,
            category_ids=dataset.category_ids,
            **{name: values[name] for name in recipe.MODEL},
        )
    )
    if options.backbone_weights:
        if options.resume:
            raise UserError("--backbone-weights must not be given with --resume, which has weights")
        path = options.backbone_weights
        load_backbone(model.backbone.body, read_backbone_weights(path), path)
    notes = {name: values[name] for name in recipe.NOTES}
    return Trainer(model.to(device), dataset, TrainingSettings(**settings), options.output, notes)


def _run(trainer: Trainer, validation: CocoDataset | None, eval_every: float) -> None:
    """Train to the end, and evaluate when that is due."""
    if validation is None:
        for _ in trainer.run():
            pass
        return
    plan = EvaluationPlan(trainer, eval_every)
    with trainer.signals, closing(trainer.run()) as records:
        while True:
            if plan.due():
                trainer.save()  # an evaluation may take long, and be interrupted
                model, batch = trainer.final_model, trainer.settings.batch
                with trainer.signals.at_once():
                    metrics, _ = evaluate_model(model, validation, batch=batch)
                print(f"\nepoch {trainer.epoch:g}: {format_metrics(metrics)}")
                plan.write(metrics)
            if next(records, None) is None:
                return


def evaluate(options: argparse.Namespace) -> None:
    """`fcos eval`."""
    model = load_model(options.weights, _device(options.device))
    preprocessing = _preprocessing(options, model)
    split = find_split(options.data, options.split)
    dataset = CocoDataset(*split, preprocessing, limit=options.limit)
    print(f"{options.split}: {dataset.contents}", flush=True)
    pictures: list[Path] = []
    if options.draw:
        pictures = plan_pictures([dataset.path(i) for i in range(len(dataset))], options.draw)
        check_unused(pictures, overwrite=options.overwrite)
    if options.output:
        check_results_file(options.output)
    for folder in filter(None, [options.output and Path(options.output).parent, options.draw]):
        check_writable(folder)
    metrics, results = evaluate_model(
        model, dataset, batch=options.batch, workers=options.workers, progress=True
    )
    print(f"{len(dataset)} images, {len(results)} detections")
    print(format_metrics(metrics))
    if options.output:
        write_json(options.output, results)
        print(f"wrote {options.output}")
    if options.draw:
        draw_dataset(model, dataset, results, pictures, min_score=options.min_score)
        print(f"drew {len(dataset)} pictures into {options.draw}")


def detect(options: argparse.Namespace) -> int:
    """`fcos detect`; 1 where some of the images could not be read."""
    paths, left_out = find_images(options.images, outside=Path(options.output))
    if left_out:
        print(f"left out: {describe(left_out)}", flush=True)
    model = load_model(options.weights, _device(options.device))
    found = detect_files(
        model,
        paths,
        _preprocessing(options, model),
        options.output,
        min_score=options.min_score,
        overwrite=options.overwrite,
        progress=True,
    )
    print(f"{found.images} images, {found.objects} objects from {options.min_score:g} on")
    if found.failed:
        print(f"{found.failed} files could not be read: their errors are in {found.report}")
    print(f"wrote {found.report} and {found.images} pictures beside it")
    return 1 if found.failed else 0


def scenes(options: argparse.Namespace) -> None:
    """`fcos scenes`."""
    write_scenes(
        options.output, train=options.train, val=options.val, size=options.size, seed=options.seed
    )
    print(f"wrote {options.train} + {options.val} scenes into {options.output}")


def demo(options: argparse.Namespace) -> None:
    """`fcos demo`."""
    demo_module.run(options.output, seed=options.seed)


def _preprocessing(options: argparse.Namespace, model: FCOS) -> Preprocessing:
    """The model's, with the sides that the options ask for."""
    trained = model.config.preprocessing
    size = options.size or trained.size
    if options.max_size:
        recipe.check_sides(size, options.max_size)
    return trained._replace(size=size, max_size=options.max_size or max(size, trained.max_size))


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device must be cpu, cuda or cuda:N, got {name!r}") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"--device must be cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        there = torch.cuda.device_count()
        raise UserError(f"--device must be here, got {name}: PyTorch sees {there} CUDA devices")
    return device
