"""How mmdetection reads images: by the config, in one of the places where its versions have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UserError, brief
from ..preprocessing import Preprocessing
from .architecture import Architecture
from .colours import CAFFE2_IMAGES, MSRA_BGR_MEAN, RGB_MEAN, RGB_STD
from .mmdetection_config import choice, number, setting, steps

_DETECTRON2 = CAFFE2_IMAGES._replace(rounding="nearest", interpolation="opencv")
_FCOS_CORE = _DETECTRON2._replace(mean=MSRA_BGR_MEAN)
_PYTORCH = _DETECTRON2._replace(channel_order="rgb", mean=RGB_MEAN, std=RGB_STD)


def read_preprocessing(
    config: Mapping[str, Any], found: Architecture, preset: str, notes: list[str]
) -> Preprocessing:
    """How images are read: as the model or its pipeline has it, else as published.

    Raises:
        UserError: a setting that is not implemented or no number.
    """
    pipeline = setting(config, "test_pipeline") or setting(config, "data.test.pipeline")
    pipeline = pipeline or setting(config, "test_dataloader.dataset.pipeline")
    colours, sizes = setting(config, "model.data_preprocessor"), None
    for step in steps(pipeline):
        if step.get("type") == "Normalize":
            colours = {"bgr_to_rgb": step.get("to_rgb", True), **step}
        if step.get("type") in ("Resize", "MultiScaleFlipAug"):
            sizes = step.get("scale", step.get("img_scale", sizes))
            choice(step, "keep_ratio", (True,), step["type"] == "MultiScaleFlipAug")
    result = _colours(colours, found, preset, notes)
    if sizes is None:
        notes.append(f"images are resized to {result.size} x {result.max_size}, as published")
        return result
    if not isinstance(sizes, list | tuple) or len(sizes) != 2:
        raise UserError(f"scale of the config's Resize must be two numbers, got {brief(sizes)}")
    both = sorted(int(number({"scale": side}, "scale", 0, 1, 1e5)) for side in sizes)
    return result._replace(size=both[0], max_size=both[1])


def _colours(values: Any, found: Architecture, preset: str, notes: list[str]) -> Preprocessing:
    if isinstance(values, dict) and "mean" in values and "std" in values:
        rgb = choice(values, "bgr_to_rgb", (True, False), False)
        mean, std = (_three(values[name], name) for name in ("mean", "std"))
        return _PYTORCH._replace(channel_order="rgb" if rgb else "bgr", mean=mean, std=std)
    if found.is_bottleneck_resnet:
        result = _DETECTRON2 if preset == "improved" else _FCOS_CORE
    else:
        result = _PYTORCH
    notes.append(
        f"the input is taken to be {result.channel_order.upper()} with mean {list(result.mean)} "
        f"and deviation {list(result.std)}, as published with {found.backbone}"
    )
    return result


def _three(values: Any, name: str) -> tuple[float, float, float]:
    if not isinstance(values, list | tuple) or len(values) != 3:
        raise UserError(f"{name} of the config must be three numbers, got {brief(values)}")
    least = 0.0 if name == "mean" else 1e-6
    first, second, third = (float(number({name: v}, name, -1, least, 1e4)) for v in values)
    return first, second, third
