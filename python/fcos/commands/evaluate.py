"""`fcos eval`."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import torch

from ..data import DetectionDataset
from ..detection.dataset import check_results_file, detect_dataset
from ..distributed.processes import Processes
from ..evaluation.average_precision import DEFAULT_LIMIT, Evaluation
from ..evaluation.evaluators import choose_evaluator
from ..evaluation.report import NOTHING_TO_MEASURE, class_table, format_metrics
from ..files import check_new, check_writable, write_json
from ..pictures.gallery import SHEET_NAME, Gallery, plan_gallery
from ..pictures.plots import PLOT_NAMES, write_plots
from .classes import of_categories
from .detectors import detector_on_data
from .devices import computing, workers_of


def run(options: argparse.Namespace) -> None:
    with computing(options) as (device, processes):
        _run(options, device, processes)


def _run(options: argparse.Namespace, device: torch.device, processes: Processes) -> None:
    evaluator = choose_evaluator(options.evaluator)
    model, dataset, chosen = detector_on_data(options, device)
    truth = of_categories(dataset.ground_truth(), chosen)
    measurable = any(not annotation["iscrowd"] for annotation in truth["annotations"])
    if not processes.of_first(measurable or options.output or options.draw):
        print(f"{NOTHING_TO_MEASURE}; --output FILE writes the detections")
        return
    pictures = _plan_files(options, dataset) if processes.first else []
    processes.check()  # an error of the first process ends the others before they detect
    results = detect_dataset(
        model,
        dataset,
        batch=options.batch,
        workers=workers_of(options, device, processes),
        min_score=options.score_threshold,
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
        gallery = Gallery(dataset.annotated, truth, results, min_score=options.min_score)
        gallery.write(range(len(dataset)), pictures, progress=True)
        print(f"drew {len(dataset)} pictures and {SHEET_NAME} into {options.draw}")


def _plan_files(options: argparse.Namespace, dataset: DetectionDataset) -> list[Path]:
    """Checks that all files can be written, and returns the names of the pictures of --draw."""
    pictures: list[Path] = []
    if options.draw:
        pictures = plan_gallery(dataset.annotated, options.draw, overwrite=options.overwrite)
    plots = []
    if options.plots:
        importlib.import_module("matplotlib")  # that it is missing is said now, not after hours
        plots = [Path(options.plots, name) for name in PLOT_NAMES]
    check_new(*plots, overwrite=options.overwrite)
    if options.output:
        check_results_file(options.output)
    folders = [options.output and Path(options.output).parent, options.draw, options.plots]
    for folder in filter(None, folders):
        check_writable(folder)
    return pictures
