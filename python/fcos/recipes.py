"""Published training schedules of FCOS, as values of `Configuration`.

Sources: tianzhi0549/FCOS `configs/fcos`, aim-uofa/AdelaiDet `configs/FCOS-Detection`, detectron2
`configs/COCO-Detection/fcos_R_50_FPN_1x.py`, mmdetection 3.3 `configs/fcos`, and the command that
torchvision's references state for its weights. All start from ImageNet weights, with the stem and
layer1 as they are.
"""

from __future__ import annotations

from typing import Any

_DETECTRON_SCALES = "640,672,704,736,768,800"

_COMMON: dict[str, Any] = {
    "batch": 16,
    "lr": 0.01,
    "optimizer": "sgd",
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "schedule": "step",
    "clip": 0.0,
    "ema": 0.0,
    "amp": "off",
    "flip": 0.5,
    "size": 800,
    "max_size": 1333,
    "norm": "frozen_bn",
    "freeze_at": 2,
    "aspect_groups": True,
    "drop_empty": True,
}
_STEPS_1X = {"steps": 90_000, "milestones": (60 / 90, 80 / 90)}
_STEPS_2X = {"steps": 180_000, "milestones": (120 / 180, 160 / 180)}
_FCOS_CORE = {
    **_COMMON,
    "preset": "paper",
    "warmup": 500,
    "warmup_kind": "constant",
    "warmup_factor": 1 / 3,
    "bias_lr_factor": 2.0,
    "bias_decay_factor": 0.0,
    "norm_biases": "as_biases",
    "norm_decay_factor": 1.0,
    "scale_decay_factor": 1.0,
}
_DETECTRON2 = {
    **_COMMON,
    "preset": "detectron2",
    "warmup": 1000,
    "warmup_kind": "linear",
    "warmup_factor": 1 / 1000,
    "bias_lr_factor": 1.0,
    "bias_decay_factor": 1.0,
    "norm_biases": "as_norms",
    "norm_decay_factor": 0.0,
    "scale_decay_factor": 1.0,
}
_MMDET = {
    **_COMMON,
    "preset": "mmdet",
    "epochs": 12.0,
    "milestones": (8 / 12, 11 / 12),
    "warmup": 500,
    "warmup_kind": "constant",
    "warmup_factor": 1 / 3,
    "clip": 35.0,
    "bias_lr_factor": 2.0,
    "bias_decay_factor": 0.0,
    "norm_biases": "as_norms",
    "norm_decay_factor": 1.0,
    "scale_decay_factor": 1.0,
}

RECIPES: dict[str, dict[str, Any]] = {
    "paper-1x": {**_FCOS_CORE, **_STEPS_1X},
    "paper-2x": {**_FCOS_CORE, **_STEPS_2X, "scales": "640-800"},
    "adelaidet-1x": {**_DETECTRON2, **_STEPS_1X, "preset": "improved"},
    "adelaidet-ms-2x": {
        **_DETECTRON2,
        **_STEPS_2X,
        "preset": "improved",
        "scales": _DETECTRON_SCALES,
    },
    "detectron2-1x": {**_DETECTRON2, **_STEPS_1X, "scales": _DETECTRON_SCALES},
    "mmdet-1x": _MMDET,
    "mmdet-ms-2x": {
        **_MMDET,
        "epochs": 24.0,
        "milestones": (16 / 24, 22 / 24),
        "scales": "640,800",
    },
    # "center-normbbox-centeronreg-giou": what it changes in the network is preset "improved"
    "mmdet-tricks-1x": {**_MMDET, "preset": "improved", "warmup_kind": "linear", "clip": 0.0},
    "torchvision": {
        **_COMMON,
        "preset": "torchvision",
        "epochs": 26.0,
        "milestones": (16 / 26, 22 / 26),
        "warmup": 1000,
        "warmup_kind": "linear",
        "warmup_factor": 1 / 1000,
        "amp": "bf16",  # published with float16, which needs its gradients scaled
        "bias_lr_factor": 1.0,
        "bias_decay_factor": 1.0,
        "norm_biases": "as_norms",
        "norm_decay_factor": 1.0,
        "scale_decay_factor": 1.0,
    },
}
