"""`fcos train`."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from dataclasses import asdict
from typing import Any

import torch

from ..configuration import changes, complete, given_values, merge
from ..data import DetectionDataset
from ..detection.dataset import detect_dataset, match_categories
from ..distributed.processes import Processes
from ..evaluation.average_precision import Evaluation
from ..evaluation.evaluators import choose_evaluator
from ..evaluation.report import format_metrics
from ..interrupts import Interrupted
from ..options.overrides import describe
from ..starting import read_start
from ..training import Trainer
from ..training.evaluations import EvaluationPlan
from ..training.folder import RunFolder
from ..training.report import TrainingReport
from .devices import computing, default_workers
from .given_data import read_training

_EVALUATION_BATCH = 8


def run(options: argparse.Namespace) -> None:
    with computing(options) as (device, processes):
        _run(options, device, processes)


def _run(options: argparse.Namespace, device: torch.device, processes: Processes) -> None:
    folder = RunFolder(options.output)
    start = read_start(options, folder)
    merged = merge(given_values(options), options.file, start.values)
    found = options.found or read_training(options, merged.values)
    workers = default_workers(device, processes.launch)
    configuration, sources = complete(merged, len(found.train), workers=workers)
    preprocessing = start.preprocessing(configuration)
    dataset = DetectionDataset(found.train, preprocessing)
    validation = None
    if found.val is not None:
        choose_evaluator()
        validation = DetectionDataset(found.val, preprocessing)
    torch.manual_seed(configuration.seed)
    model = start.model(configuration, dataset).to(device)
    notes = {**configuration.notes, "images": len(dataset)}
    trainer = Trainer(model, dataset, configuration.settings, folder.path, notes, processes)
    trainer.folder.configuration = asdict(configuration)
    if validation is not None:
        match_categories(model.config, validation)
    together = f" in {processes.world} processes" if processes.world > 1 else ""
    print(
        f"{len(dataset.class_names)} classes, {configuration.steps} steps of "
        f"{configuration.batch} images on {device}{together}"
    )
    files = {"file": options.config, "stored": start.path or folder.checkpoint}
    print(describe(configuration, sources, files), flush=True)
    if options.resume:
        trainer.resume(start.checkpoint)
        print(f"already at step {trainer.step} of {configuration.steps}", flush=True)
        if changed := changes(start.values, {**asdict(configuration), **notes}):
            print(f"other than before: {changed}", flush=True)
    _train(trainer, validation, configuration.eval_every)


def _train(trainer: Trainer, validation: DetectionDataset | None, eval_every: float) -> None:
    """Train to the end, evaluate when that is due, and say what is written."""
    folder, begin = trainer.folder, trainer.saved_step
    plan = None if validation is None else EvaluationPlan(trainer, eval_every)
    report = TrainingReport(folder.metrics if trainer.processes.first else None)
    try:
        with trainer.signals, closing(trainer.run()) as records:
            while True:
                if plan is not None and validation is not None and plan.due():
                    trainer.save()  # an evaluation may take long, and be interrupted
                    with trainer.signals.at_once():
                        metrics = _evaluate(trainer, validation)
                    if plan.write(metrics):
                        print(f"the best AP so far: wrote {folder.best}")
                report.update()
                if next(records, None) is None:
                    break
    except (Exception, Interrupted):
        if trainer.saved_step > begin:
            saved = f"{folder.checkpoint} holds step {trainer.saved_step}"
            print(f"{saved}: --resume goes on from there", flush=True)
            report.update(at_once=True)
        raise
    report.update(at_once=True)
    if trainer.saved_step > begin:
        print(f"wrote {folder.checkpoint}")
    if plan is not None and (best := plan.best) is not None:
        print(f"{folder.best} holds AP {best['AP']:.3f} of epoch {best['epoch']:g}")


def _evaluate(trainer: Trainer, validation: DetectionDataset) -> dict[str, Any]:
    """Metrics of the trainer's model, also printed; "classes" has the AP of each class. None but in
    the first process."""
    settings, processes = trainer.settings, trainer.processes
    results = detect_dataset(
        trainer.final_model,
        validation,
        # as `fcos eval` takes them, and whatever the number of processes and parts: an image's
        # result depends on how its batch is padded
        batch=min(_EVALUATION_BATCH, settings.batch),
        workers=settings.workers,
        progress=sys.stderr.isatty(),  # in a file it would be a line a batch
        processes=processes,
    )
    if not processes.first:
        return {}
    evaluation = Evaluation(validation.ground_truth(), results)
    metrics = evaluation.metrics()
    print(f"\nepoch {trainer.epoch:g}: {format_metrics(metrics)}")
    names = validation.class_names
    classes = {
        name if names.count(name) == 1 else f"{name} {found.category_id}": found.ap
        for name, found in zip(names, evaluation.classes(), strict=True)
        if found.ap != -1
    }
    return {**metrics, "classes": classes}
