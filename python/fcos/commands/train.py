"""`fcos train`."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import asdict

import torch

from .. import data_options
from ..configuration import changes, complete, given_values, merge
from ..data import DetectionDataset
from ..evaluation import evaluate, format_metrics, match_categories
from ..evaluators import choose_evaluator
from ..interrupts import Interrupted
from ..names import CHECKPOINT_NAME
from ..overrides import describe
from ..starting import Start, read_start
from ..training import Trainer
from ..training.evaluations import EvaluationPlan
from ..training.folder import RunFolder
from ..training.processes import require_one_process
from ..training_report import TrainingReport
from .devices import choose_device


def run(options: argparse.Namespace) -> None:
    require_one_process()
    device, folder = choose_device(options.device), RunFolder(options.output)
    start = read_start(options, folder)
    merged = merge(given_values(options), options.file, start.values)
    found = options.found or data_options.read_training(options, merged.values)
    configuration, sources = complete(merged, len(found.train))
    preprocessing = start.preprocessing(configuration)
    dataset = DetectionDataset(found.train, preprocessing)
    validation = None
    if found.val is not None:
        choose_evaluator()
        validation = DetectionDataset(found.val, preprocessing)
    torch.manual_seed(configuration.seed)
    model = start.model(configuration, dataset).to(device)
    notes = {**configuration.notes, "images": len(dataset)}
    trainer = Trainer(model, dataset, configuration.settings, folder.path, notes)
    trainer.folder.configuration = asdict(configuration)
    if validation is not None:
        match_categories(model.config, validation)
    print(
        f"{len(dataset.class_names)} classes, {configuration.steps} steps of "
        f"{configuration.batch} images on {device}"
    )
    names = {"file": f"of {options.config}", "stored": f"of {_origin(start)}"}
    print(describe(configuration, sources, names), flush=True)
    if options.resume:
        trainer.resume(start.checkpoint)
        print(f"already at step {trainer.step} of {configuration.steps}", flush=True)
        if changed := changes(start.values, {**asdict(configuration), **notes}):
            print(f"other than before: {changed}", flush=True)
    _train(trainer, validation, configuration.eval_every)


def _origin(start: Start) -> str:
    return start.path or CHECKPOINT_NAME


def _train(trainer: Trainer, validation: DetectionDataset | None, eval_every: float) -> None:
    """Train to the end, evaluate when that is due, and say what is written."""
    folder, begin = trainer.folder, trainer.saved_step
    plan = None if validation is None else EvaluationPlan(trainer, eval_every)
    report = TrainingReport(folder.metrics)
    try:
        with trainer.signals, closing(trainer.run()) as records:
            while True:
                if plan is not None and plan.due():
                    assert validation is not None
                    _evaluate(trainer, validation, plan)
                    report.update(at_once=True)
                if next(records, None) is None:
                    break
                report.update()
    except (Exception, Interrupted):
        if trainer.saved_step > begin:
            report.update(at_once=True)
            saved = f"{folder.checkpoint} holds step {trainer.saved_step}"
            print(f"{saved}: --resume goes on from there")
        raise
    if trainer.saved_step > begin:
        report.update(at_once=True)
        print(f"wrote {folder.checkpoint}")
    if plan is not None and (best := plan.best) is not None:
        print(f"{folder.best} holds AP {best['AP']:.3f} of epoch {best['epoch']:g}")


def _evaluate(trainer: Trainer, validation: DetectionDataset, plan: EvaluationPlan) -> None:
    trainer.save()  # an evaluation may take long, and be interrupted
    model, batch = trainer.final_model, trainer.settings.batch
    with trainer.signals.at_once():
        metrics, _ = evaluate(model, validation, batch=batch)
    print(f"\nepoch {trainer.epoch:g}: {format_metrics(metrics)}")
    if plan.write(metrics):
        print(f"the best AP so far: wrote {trainer.folder.best}")
