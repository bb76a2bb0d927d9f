"""What each command of the command line does; the options are in `cli`."""

from __future__ import annotations

import argparse
import importlib
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import torch

from . import data_options, recipe
from . import demo as demo_module
from .average_precision import DEFAULT_LIMIT, Evaluation
from .data import DetectionDataset
from .data.annotations import read_categories
from .detection import check_unused, detect_files, draw_dataset, plan_pictures
from .detection_rule import apply_options
from .detectors import convert_file, read_model
from .errors import UserError
from .evaluation import (
    NOTHING_TO_MEASURE,
    check_results_file,
    describe_unused,
    detect_dataset,
    format_metrics,
    match_categories,
    of_categories,
)
from .evaluation import evaluate as evaluate_model
from .evaluation_report import PLOT_NAMES, class_table, write_plots
from .evaluators import choose_evaluator
from .files import check_new, check_replaceable, check_writable, write_json
from .inputs import describe, find_images
from .interrupts import Interrupted
from .models import FCOS
from .preprocessing import Preprocessing
from .scenes import write_scenes
from .starting import read_start
from .training import Trainer, TrainingSettings, save_checkpoint
from .training.evaluations import EvaluationPlan
from .training.folder import RunFolder
from .training.processes import require_one_process


def train(options: argparse.Namespace) -> None:
    """`fcos train`."""
    require_one_process()
    device, folder = _device(options.device), RunFolder(options.output)
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
    trainer = Trainer(model, dataset, TrainingSettings(**settings), folder.path, notes)
    if validation is not None:
        match_categories(model.config, validation)
    print(
        f"{len(dataset.class_names)} classes, {values['steps']} steps of {values['batch']} images "
        f"on {device}",
        flush=True,
    )
    if options.resume:
        trainer.resume(start.checkpoint)
        print(f"already at step {trainer.step} of {values['steps']}", flush=True)
        if changed := recipe.changes(start.values, values):
            print(f"other than before: {changed}", flush=True)
    begin = trainer.saved_step
    try:
        _run(trainer, validation, values["eval_every"])
    except (Exception, Interrupted):
        if trainer.saved_step > begin:
            print(
                f"{folder.checkpoint} holds step {trainer.saved_step}: --resume goes on from there"
            )
        raise
    if trainer.saved_step > begin:
        print(f"wrote {folder.checkpoint}")


def _run(trainer: Trainer, validation: DetectionDataset | None, eval_every: float) -> None:
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
    evaluator = choose_evaluator(options.evaluator)
    model = _model(options)
    chosen = apply_options(model, options)
    preprocessing = _preprocessing(options, model)
    dataset = DetectionDataset(options.found, preprocessing)
    if unused := describe_unused(model.config, match_categories(model.config, dataset)):
        print(f"left out of the results: {unused}", flush=True)
    truth = of_categories(dataset.ground_truth(), chosen)
    measurable = any(not annotation["iscrowd"] for annotation in truth["annotations"])
    if not (measurable or options.output or options.draw):
        print(f"{NOTHING_TO_MEASURE}; --output FILE writes the detections")
        return
    pictures: list[Path] = []
    if options.draw:
        pictures = plan_pictures(dataset.annotated.paths, options.draw)
    plots = []
    if options.plots:
        importlib.import_module("matplotlib")  # that it is missing is said now, not after hours
        plots = [Path(options.plots, name) for name in PLOT_NAMES]
    check_unused([*pictures, *plots], overwrite=options.overwrite)
    if options.output:
        check_results_file(options.output)
    folders = [options.output and Path(options.output).parent, options.draw, options.plots]
    for folder in filter(None, folders):
        check_writable(folder)
    results = detect_dataset(
        model,
        dataset,
        batch=options.batch,
        workers=options.workers,
        min_score=options.score_threshold or 0.0,
        progress=True,
    )
    print(f"{len(dataset)} images, {len(results)} detections")
    if options.output:
        write_json(options.output, results)
        print(f"wrote {options.output}")
    evaluation = Evaluation(
        truth,
        results,
        max_detections=options.max_detections or DEFAULT_LIMIT,
        evaluator=evaluator,
    )
    print(format_metrics(evaluation.metrics()))
    if measurable:
        names = [category["name"] for category in truth["categories"]]
        print(f"evaluated by {evaluation.evaluator}\n{class_table(evaluation.classes(), names)}")
        if options.plots:
            write_plots(evaluation, names, Path(options.plots), min_score=options.min_score)
            print(f"drew {' and '.join(PLOT_NAMES)} into {options.plots}")
    if options.draw:
        draw_dataset(model, dataset, results, pictures, min_score=options.min_score)
        print(f"drew {len(dataset)} pictures into {options.draw}")


def detect(options: argparse.Namespace) -> int:
    """`fcos detect`; 1 where some of the images could not be read."""
    paths, left_out = find_images(options.images, outside=Path(options.output))
    if left_out:
        print(f"left out: {describe(left_out)}", flush=True)
    model = _model(options)
    apply_options(model, options)
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


def convert(options: argparse.Namespace) -> None:
    """`fcos convert`."""
    output = Path(options.output)
    check_replaceable(output)
    if output.exists():
        for path in map(Path, filter(None, [options.input, options.categories])):
            if path.exists() and output.samefile(path):
                raise UserError(f"OUT must be another file than {path}, which would be lost")
    check_new(output, overwrite=options.overwrite)
    categories = None if options.categories is None else read_categories(options.categories)
    model, notes = convert_file(
        options.input, layout=options.layout, preset=options.preset, categories=categories
    )
    for note in notes:
        print(note)
    save_checkpoint(options.output, model)
    print(f"wrote {options.output}")


def scenes(options: argparse.Namespace) -> None:
    """`fcos scenes`."""
    write_scenes(
        options.output, train=options.train, val=options.val, size=options.size, seed=options.seed
    )
    print(f"wrote {options.train} + {options.val} scenes into {options.output}")


def demo(options: argparse.Namespace) -> None:
    """`fcos demo`."""
    demo_module.run(options.output, seed=options.seed)


def _model(options: argparse.Namespace) -> FCOS:
    """Of --weights; prints what was assumed of the file."""
    model, notes = read_model(options.weights, _device(options.device))
    for note in notes:
        print(note, flush=True)
    return model


def _preprocessing(options: argparse.Namespace, model: FCOS) -> Preprocessing:
    """The model's, with the sides that the options ask for."""
    trained = model.config.preprocessing
    size = options.size or trained.size
    if options.max_size:
        recipe.check_sides(size, options.max_size)
    return trained._replace(size=size, max_size=options.max_size or max(size, trained.max_size))


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
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
