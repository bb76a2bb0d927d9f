"""`fcos train`."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import fields

import torch

from .. import data_options, recipe
from ..data import DetectionDataset
from ..evaluation import coco_metrics, detect_dataset, format_metrics, match_categories
from ..evaluators import choose_evaluator
from ..interrupts import Interrupted
from ..launch import read_launch
from ..processes import Processes, joined
from ..starting import read_start
from ..training import Trainer, TrainingSettings
from ..training.evaluations import EvaluationPlan
from ..training.folder import RunFolder
from .devices import device_of_process

_EVALUATION_BATCH = 8


def run(options: argparse.Namespace) -> None:
    launch = read_launch()
    device = device_of_process(options.device, launch)
    with joined(launch, device) as processes:
        _run(options, device, processes)


def _run(options: argparse.Namespace, device: torch.device, processes: Processes) -> None:
    folder = RunFolder(options.output)
    start = read_start(options, folder)
    values = recipe.merge(recipe.given_values(options), start.values)
    preprocessing = start.preprocessing(values)
    found = options.found or data_options.read_training(options, values)
    dataset = DetectionDataset(found.train, preprocessing)
    validation = None
    if found.val is not None:
        choose_evaluator()
        validation = DetectionDataset(found.val, preprocessing)
    values = recipe.complete(values, len(dataset))
    settings = {f.name: values[f.name] for f in fields(TrainingSettings) if f.name in values}
    torch.manual_seed(values["seed"])
    model = start.model(values, dataset).to(device)
    notes = {name: values[name] for name in recipe.NOTES}
    trainer = Trainer(model, dataset, TrainingSettings(**settings), folder.path, notes, processes)
    if validation is not None:
        match_categories(model.config, validation)
    print(
        f"{len(dataset.class_names)} classes, {values['steps']} steps of {values['batch']} images "
        f"on {device}" + f" in {processes.world} processes" * (processes.world > 1),
        flush=True,
    )
    if options.resume:
        trainer.resume(start.checkpoint)
        print(f"already at step {trainer.step} of {values['steps']}", flush=True)
        if changed := recipe.changes(start.values, values):
            print(f"other than before: {changed}", flush=True)
    begin = trainer.saved_step
    try:
        _train(trainer, validation, values["eval_every"])
    except (Exception, Interrupted):
        if trainer.saved_step > begin:
            print(
                f"{folder.checkpoint} holds step {trainer.saved_step}: --resume goes on from there"
            )
        raise
    if trainer.saved_step > begin:
        print(f"wrote {folder.checkpoint}")


def _train(trainer: Trainer, validation: DetectionDataset | None, eval_every: float) -> None:
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
                with trainer.signals.at_once():
                    metrics = _evaluate(trainer, validation)
                plan.write(metrics)
            if next(records, None) is None:
                return


def _evaluate(trainer: Trainer, validation: DetectionDataset) -> dict[str, float]:
    """Metrics of the trainer's model, also printed; none but in the first process."""
    processes = trainer.processes
    # as `fcos eval` takes them, and whatever the number of processes and parts: an image's result
    # depends on how its batch is padded
    batch = min(_EVALUATION_BATCH, trainer.settings.batch)
    results = detect_dataset(trainer.final_model, validation, batch=batch, processes=processes)
    if not processes.first:
        return {}
    metrics = coco_metrics(validation.ground_truth(), results)
    print(f"\nepoch {trainer.epoch:g}: {format_metrics(metrics)}")
    return metrics
