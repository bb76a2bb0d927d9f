"""What `fcos train` is told: every value with its type and default, and which of several sources of
a value counts. Imports no torch."""

from __future__ import annotations

import argparse
import dataclasses
import math
from typing import Any, Literal, NamedTuple

from .data.scales import parse_scales
from .errors import UserError
from .names import BackboneName, ExtraLevels, HeadNormName, NormName
from .recipes import RECIPES
from .training.settings import TrainingSettings

Values = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The network; see `ModelConfig`."""

    preset: str = "improved"
    backbone: BackboneName = "resnet50"
    backbone_width: int = 64
    norm: NormName = "bn"
    stride_in_1x1: bool = False
    freeze_at: int = 0
    extra_levels: ExtraLevels = "p5"
    width: int = 256
    depth: int = 4
    head_norm: HeadNormName = "gn"


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputOptions:
    """Sides of images, pixels; see `Preprocessing`."""

    size: int = 800
    max_size: int = 1333


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which images are trained on, and how often others are evaluated.

    Attributes:
        split: part of the data set.
        limit: only so many images, the first by id.
        drop_empty: leave out images without a box to train on.
        val_fraction: share of the part that is held out for evaluation, where there is no part val.
        eval_every: epochs between two evaluations on the part val; 0: none.
    """

    split: str = "train"
    limit: int | None = None
    drop_empty: bool = False
    val_fraction: float = 0.0
    eval_every: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Configuration(TrainingSettings, DataOptions, InputOptions, ModelOptions):
    """All values of a training, under the names of their options. config.json holds them.

    Attributes:
        recipe: name of the published schedule that stands behind the other values.
        epochs: passes over the data, of which `steps` follow; None where steps were asked for.
    """

    recipe: str | None = None
    epochs: float | None = None

    @property
    def settings(self) -> TrainingSettings:
        return TrainingSettings(**_part(self, TrainingSettings))

    @property
    def model(self) -> Values:
        """Fields of `ModelConfig`."""
        return _part(self, ModelOptions)

    @property
    def sides(self) -> Values:
        """Fields of `Preprocessing`."""
        return _part(self, InputOptions)

    @property
    def notes(self) -> Values:
        """What a checkpoint keeps beside model and settings for the run that resumes."""
        return {**_part(self, DataOptions), "recipe": self.recipe, "epochs": self.epochs}


def _part(configuration: Configuration, part: type[Any]) -> Values:
    return {field.name: getattr(configuration, field.name) for field in dataclasses.fields(part)}


NAMES = tuple(field.name for field in dataclasses.fields(Configuration))
MODEL, INPUT, DATA = (
    tuple(field.name for field in dataclasses.fields(part))
    for part in (ModelOptions, InputOptions, DataOptions)
)
NOTES = (*DATA, "recipe", "epochs", "images")  # `images` is how many the data set has
DEFAULT_EPOCHS = 12.0
# their defaults depend on other values, or on the machine
_DEPENDENT = ("steps", "epochs", "lr", "warmup", "workers")
DEFAULTS: Values = {
    field.name: field.default
    for field in dataclasses.fields(Configuration)
    if field.name not in _DEPENDENT
}
Source = Literal["given", "file", "stored", "recipe", "derived", "default"]


class Merged(NamedTuple):
    """Values, and where each is from; those that depend on the data are still open."""

    values: Values
    sources: dict[str, Source]


def given_values(options: argparse.Namespace) -> Values:
    """What the command line says itself; the parser leaves out every option that is not there."""
    return {name: value for name, value in vars(options).items() if name in NAMES}


def merge(given: Values, file: Values, stored: Values) -> Merged:
    """The command line's values over those of --config over those stored in a checkpoint or in
    weights over the recipe's over the defaults.

    Raises:
        UserError: --recipe beside values that stand before it.
    """
    _check_recipe(given, file, stored)
    asked = {**stored, **file, **given}
    merged = _over(Merged({}, {}), "default", DEFAULTS)
    if (name := asked.get("recipe")) is not None:
        published, changed = _for_batch(RECIPES[name], asked)
        merged = _over(merged, "recipe", published)
        merged = _over(merged, "derived", changed)
    merged = _over(merged, "stored", stored)
    merged = _over(merged, "file", file)
    return _over(merged, "given", given)


def _check_recipe(given: Values, file: Values, stored: Values) -> None:
    asked = {**file, **given}
    name = "--recipe" if "recipe" in given else "recipe of --config"
    for values, option in ((file, "--config"), (stored, "--resume")):
        if "recipe" in asked and values.get("recipe", asked["recipe"]) != asked["recipe"]:
            raise UserError(
                f"{name} must not be given with {option}, whose values stand before it: "
                f"got {asked['recipe'] or 'none'} over {values['recipe'] or 'none'}"
            )


def _over(below: Merged, source: Source, values: Values) -> Merged:
    """Values of a source over those below: its length, in steps or epochs, ends the other."""
    known = {name: value for name, value in values.items() if name in NAMES}
    kept = dict(below.values)
    for one, other in (("steps", "epochs"), ("epochs", "steps")):
        if known.get(one) is not None and known.get(other) is None:
            kept.pop(other, None)
    sources = {**below.sources, **dict.fromkeys(known, source)}
    return Merged({**kept, **known}, sources)


def _for_batch(recipe: Values, asked: Values) -> tuple[Values, Values]:
    """A recipe, and what another batch changes in it: the rate in proportion, and the steps against
    it, so that as many images are seen (Goyal et al. 2017; auto_scale_workers of detectron2)."""
    published = dict(recipe)
    if asked.get("optimizer", published["optimizer"]) != published["optimizer"]:
        del published["lr"]
    ratio = asked.get("batch", published["batch"]) / published["batch"]
    if ratio == 1:
        return published, {}
    changed = {"lr": published["lr"] * ratio} if "lr" in published else {}
    for name in ("steps", "warmup"):
        if name in published:
            changed[name] = math.ceil(published[name] / ratio)
    return published, changed


def check_sides(size: int, max_size: int) -> None:
    """Raises UserError where the long side of an image is to be below the short one."""
    if max_size < size:
        raise UserError(
            f"--max-size must be at least the short side, --size {size}, got {max_size}"
        )


def complete(
    merged: Merged, images: int, *, workers: int = 0
) -> tuple[Configuration, dict[str, Source]]:
    """The configuration of a run on this many images, and where its values are from.

    workers: where nobody says how many.

    Raises:
        UserError: a value is out of range, or two do not fit.
    """
    values, sources = dict(merged.values), dict(merged.sources)
    if sources["max_size"] == "given" or sources["size"] == sources["max_size"] == "file":
        check_sides(values["size"], values["max_size"])
    if values["max_size"] < values["size"]:
        values["max_size"], sources["max_size"] = values["size"], "derived"
    if max(parse_scales(values["scales"]), default=0) > values["max_size"]:
        raise UserError(
            f"--scales must be at most --max-size, {values['max_size']}, got {values['scales']}"
        )

    def derive(name: str, value: Any) -> None:
        values[name], sources[name] = value, "derived"

    if values.get("steps") is None and values.get("epochs") is None:
        values["epochs"], sources["epochs"] = DEFAULT_EPOCHS, "default"
    if values.get("epochs") is not None:
        derive("steps", max(1, math.ceil(values["epochs"] * images / values["batch"])))
    if "lr" not in values:
        # published: 0.01 for SGD at 16 images a step, in proportion for other batches
        derive("lr", 0.01 * values["batch"] / 16 if values["optimizer"] == "sgd" else 5e-4)
    if "workers" not in values:
        values["workers"], sources["workers"] = workers, "default"
    tenth = values["steps"] // 10
    if "warmup" not in values:
        derive("warmup", min(500, tenth))
    elif sources["warmup"] in ("recipe", "derived") and values["warmup"] > tenth:
        derive("warmup", tenth)  # of a run that is much shorter than the published one
    return Configuration(**values), sources


def check_anew(configuration: Configuration) -> None:
    """UserError where a run from nothing would keep weights that were drawn at random."""
    if not configuration.freeze_at:
        return
    message = (
        "--freeze-at must be 0 without --weights or --backbone-weights, as what is frozen stays "
        f"as it was drawn at random, got {configuration.freeze_at}"
    )
    if configuration.recipe is not None:
        message += f" (--recipe {configuration.recipe} starts from --backbone-weights of ImageNet)"
    raise UserError(message)


def changes(stored: Values, values: Values) -> str:
    """What differs from the run that was stored, as "lr 0.01 -> 0.02"; "" where nothing does."""
    different = [name for name in stored if stored[name] != values[name]]
    return ", ".join(f"{name} {stored[name]} -> {values[name]}" for name in different)
