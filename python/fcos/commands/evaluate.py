"""`fcos eval`."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import torch

from ..average_precision import DEFAULT_LIMIT, Evaluation
from ..data import DetectionDataset
from ..detection import check_unused, draw_dataset, plan_pictures
from ..detection_rule import apply_options
from ..evaluation import (
    NOTHING_TO_MEASURE,
    check_results_file,
    describe_unused,
    detect_dataset,
    format_metrics,
    match_categories,
    of_categories,
)
from ..evaluation_report import PLOT_NAMES, class_table, write_plots
from ..evaluators import choose_evaluator
from ..files import check_writable, write_json
from ..launch import Launch, read_launch
from ..processes import Processes, joined
from .detectors import model_of, preprocessing_of
from .devices import default_workers, device_of_process


def run(options: argparse.Namespace) -> None:
    launch = read_launch()
    device = device_of_process(options.device, launch)
    with joined(launch, device) as processes:
        _run(options, launch, device, processes)


def _run(
    options: argparse.Namespace, launch: Launch, device: torch.device, processes: Processes
) -> None:
    evaluator = choose_evaluator(options.evaluator)
    model = model_of(options, device)
    chosen = apply_options(model, options)
    dataset = DetectionDataset(options.found, preprocessing_of(options, model))
    if unused := describe_unused(model.config, match_categories(model.config, dataset)):
        print(f"left out of the results: {unused}", flush=True)
    truth = of_categories(dataset.ground_truth(), chosen)
    measurable = any(not annotation["iscrowd"] for annotation in truth["annotations"])
    if not (measurable or options.output or options.draw):
        print(f"{NOTHING_TO_MEASURE}; --output FILE writes the detections")
        return
    pictures = _plan_files(options, dataset) if processes.first else []
    processes.check()  # an error of the first process ends the others before they detect
    results = detect_dataset(
        model,
        dataset,
        batch=options.batch,
        workers=getattr(options, "workers", default_workers(device, launch)),
        min_score=options.score_threshold or 0.0,
        progress=True,
        processes=processes,
    )
    if not processes.first:
        return
    print(f"{len(dataset)} images, {len(results)} detections")
    if options.output:
        write_json(options.output, results)
        print(f"wrote {options.output}")
    maximum = options.max_detections or DEFAULT_LIMIT
    evaluation = Evaluation(truth, results, max_detections=maximum, evaluator=evaluator)
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


def _plan_files(options: argparse.Namespace, dataset: DetectionDataset) -> list[Path]:
    """Checks that all files can be written, and returns the names of the pictures of --draw."""
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
    return pictures
