"""Checkpoints: one file with the weights and all that is needed to go on or to detect."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError, brief, shorten
from ..files import save_torch_file
from ..memory import is_out_of_memory
from ..models import FCOS, VARIANTS, ModelConfig
from ..preprocessing import Preprocessing
from ..recipes import RECIPES
from ..weights import build, read_weights_file
from .optimizer import GROUPING
from .records import Window
from .settings import TrainingSettings

FORMAT = 2


def save_checkpoint(path: str | os.PathLike[str], model: FCOS, **state: Any) -> None:
    """Write atomically: whoever reads `path` finds the old file or the new one, whole."""
    content = {
        "format": FORMAT,
        "config": model.config.to_dict(),
        "model": model.state_dict(),
        **state,
    }
    save_torch_file(path, content)


def load_checkpoint(path: str | os.PathLike[str], *, to_resume: bool = False) -> dict[str, Any]:
    """Read a checkpoint onto the CPU and check all its parts that can be without the network.

    Raises:
        FileNotFoundError: no such file.
        UserError: not a checkpoint of this package, or, to resume, one of a model alone.
    """
    content = read_weights_file(path, "checkpoint", foreign=False)
    if not is_checkpoint(content):
        raise UserError(f"{path}: not a checkpoint written by `fcos train`")
    return _checked(path, content, to_resume=to_resume)


def _checked(
    path: str | os.PathLike[str], content: dict[str, Any], *, to_resume: bool = False
) -> dict[str, Any]:
    with reading(path, "format"):
        number = content["format"]
        _expect(isinstance(number, int) and number in (1, FORMAT), f"1 or {FORMAT}", number)
    missing = {"settings", "optimizer", "ema", "step", "rng"} - content.keys()
    if to_resume and missing:
        raise UserError(f"{path}: holds a model, but no {', no '.join(sorted(missing))} to resume")
    if content["format"] == 1:
        with reading(path, "config"):
            content["config"] = config_of_format_1(content["config"], content.pop("input"))
    for part, read in _PARTS.items():
        if part in content:
            with reading(path, part):
                read(content[part])
    return content


def is_checkpoint(content: object) -> bool:
    """Whether a file that was read holds a checkpoint of this package, of whatever format."""
    return isinstance(content, dict) and {"format", "config", "model"} <= content.keys()


def config_of_format_1(config: Mapping[str, Any], sides: Mapping[str, Any]) -> dict[str, Any]:
    """The config as it is written today, of a checkpoint that had a preset's name for its rules and
    the sides of images beside it; its towers all had biases, its images were resized by Pillow."""
    lists = {name: tuple(config[name]) for name in ("class_names", "category_ids")}
    variant = VARIANTS[config["preset"]]._replace(conv_bias=True)
    preprocessing = Preprocessing(**sides)
    own = {**config, **lists, "variant": variant, "preprocessing": preprocessing}
    return ModelConfig(**own).to_dict()


def model_of_checkpoint(path: str | os.PathLike[str], content: dict[str, Any]) -> FCOS:
    """The model in a checkpoint that was read from `path`, in evaluation mode, with the averaged
    weights if it has them.

    Raises:
        UserError: a part of it is not as it must be.
    """
    content = _checked(path, content)
    ema = content.get("ema")
    part = "model" if ema is None else "ema"
    with reading(path, part):
        weights = content["model"] if ema is None else ema["model"]
        model = build(ModelConfig.from_dict(content["config"]), weights)
    return model.eval()


def check_same(
    path: str | os.PathLike[str],
    content: Mapping[str, Any],
    config: ModelConfig,
    settings: TrainingSettings,
) -> None:
    """UserError where a checkpoint is of another model or optimizer than the run that is to resume
    it, or lacks the average that is asked for."""
    stored = TrainingSettings(**content["settings"])
    fixed = ("optimizer", *GROUPING)
    ours = {**config.to_dict(), **{name: getattr(settings, name) for name in fixed}}
    theirs = {**content["config"], **{name: getattr(stored, name) for name in fixed}}
    for name, value in ours.items():
        if name != "preprocessing" and value != theirs[name]:
            raise UserError(
                f"{name} must be {brief(theirs[name])} to resume {path}, got {brief(value)}"
            )
    if settings.ema and content["ema"] is None:
        raise UserError(f"ema must be 0 to resume {path}, which holds no averaged weights")


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], part: str) -> Iterator[None]:
    """Whatever the reader of a part that was edited, or is another program's, stumbles on becomes
    a UserError that names the part."""
    try:
        yield
    except (
        *(ArithmeticError, AssertionError, AttributeError, LookupError),
        *(RuntimeError, TypeError, ValueError),
    ) as error:
        if is_out_of_memory(error):
            raise
        reason = shorten(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise UserError(
            f"{path} must be a checkpoint of `fcos train`, its part {part!r} is not: {reason}"
        ) from error


def _expect(fulfilled: bool, expected: str, value: object) -> None:
    if not fulfilled:
        raise ValueError(f"must be {expected}, got {brief(value)}")


def _config(value: Any) -> None:
    config = ModelConfig.from_dict(value).to_dict()
    _expect(config.keys() <= value.keys(), "whole", list(value))


def _best(value: Any) -> None:
    _expect(isinstance(value["AP"], float), "a number as AP", value["AP"])


def _step(value: Any) -> None:
    _expect(isinstance(value, int) and value >= 0, "a whole number from 0 on", value)


def _random_state(value: Any) -> None:
    torch.Generator().set_state(value["torch"])
    _expect(isinstance(value.get("cuda", value["torch"]), Tensor), "tensors", value)


def _notes(value: Any) -> None:
    """Of `fcos train`; who uses `Trainer` may keep others."""
    split, limit, every = (value.get(name) for name in ("split", "limit", "eval_every"))
    recipe, epochs, drop_empty = (value.get(name) for name in ("recipe", "epochs", "drop_empty"))
    _expect(split is None or isinstance(split, str), "a text as split", split)
    _expect(limit is None or (isinstance(limit, int) and limit > 0), "a count as limit", limit)
    _expect(every is None or 0 <= every < math.inf, "a number as eval_every", every)
    _expect(recipe is None or recipe in RECIPES, "a known recipe", recipe)
    _expect(epochs is None or 0 < epochs < math.inf, "a positive number as epochs", epochs)
    _expect(drop_empty in (None, True, False), "True or False as drop_empty", drop_empty)
    fraction = value.get("val_fraction", 0.0)  # later than the first checkpoints of this package
    _expect(0 <= fraction < 1, "a share as val_fraction", fraction)


_PARTS: dict[str, Callable[[Any], object]] = {
    "config": _config,
    "settings": lambda value: TrainingSettings(**value),
    "data": _notes,
    "best": _best,
    "step": _step,
    "window": Window,
    "rng": _random_state,
}
