"""Names that are needed before torch is imported: what options choose from, the files of a run."""

from __future__ import annotations

from typing import Literal

CHECKPOINT_NAME = "last.pth"
FIRST_BATCH_NAME = "first_batch.png"
BEST_NAME = "best.pth"
CONFIGURATION_NAME = "config.json"
METRICS_NAME = "metrics.jsonl"
TABLE_NAME = "metrics.csv"
CURVES_NAME = "curves.png"

BackboneName = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
]
NUM_STAGES = 5  # of a backbone: the stem and layer1 to layer4
NormName = Literal["bn", "sync_bn", "gn", "frozen_bn"]
HeadNormName = Literal["gn", "bn", "sync_bn", "none"]
ExtraLevels = Literal["p5", "c5"]
PRESETS = ("detectron2", "improved", "mmdet", "paper", "torchvision")  # of models.VARIANTS
LAYOUT_NAMES = ("torchvision", "fcos_core", "adelaidet", "detectron2", "mmdetection")
EVALUATOR_NAMES = ("hotcoco", "faster-coco-eval", "pycocotools")  # of evaluators.EVALUATORS
