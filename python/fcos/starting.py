"""What a training starts from: nothing, a checkpoint to go on with, a detector's or a backbone's
weights."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any

from .configuration import DEFAULTS, INPUT, MODEL, NOTES, Configuration, Values, changes
from .data import DetectionDataset
from .detectors import read_model
from .errors import UserError
from .models import FCOS, ModelConfig
from .models.config import RULES
from .preprocessing import PREPROCESSING, Preprocessing
from .training import TrainingSettings, load_checkpoint
from .training.folder import RunFolder
from .weights import BackboneWeights, load_backbone, read_backbone_weights
from .weights.fitting import fit_detector

_COLOURS = ("channel_order", "max_value", "mean", "std")


@dataclasses.dataclass(frozen=True)
class Start:
    """Files that `fcos train` was given, read.

    Attributes:
        values: what they say of the recipe, between the command line and the defaults.
        checkpoint: content of last.pth where a run is resumed, else empty.
        config: of the checkpoint or the detector.
        detector, backbone: weights to begin with.
        path: of the file that holds them.
    """

    values: Values
    checkpoint: dict[str, Any] = dataclasses.field(default_factory=dict)
    config: ModelConfig | None = None
    detector: FCOS | None = None
    backbone: BackboneWeights | None = None
    path: str = ""

    def preprocessing(self, configuration: Configuration) -> Preprocessing:
        """How the run reads images."""
        return _config(self, configuration, ("",), (0,)).preprocessing

    def model(self, configuration: Configuration, dataset: DetectionDataset) -> FCOS:
        """The network of a run on this data set; prints what it takes of the weights."""
        config = _config(self, configuration, dataset.class_names, dataset.category_ids)
        model = FCOS(config)
        if self.config is not None and config.norm_eps != self.config.norm_eps:
            print(
                f"norm_eps {self.config.norm_eps:g} -> {config.norm_eps:g}, for norm {config.norm}"
            )
        if self.detector is not None:
            options = changes(DEFAULTS, {**DEFAULTS, **self.values})
            print(f"model options of {self.path}: {options or 'the defaults'}")
            print(fit_detector(model, self.detector), flush=True)
        if self.backbone is not None:
            load_backbone(model.backbone.body, self.backbone, self.path)
            if self.backbone.stride_in_1x1 and not config.stride_in_1x1:
                raise UserError(f"stride_in_1x1 must be True for {self.path}, got False")
        return model


def read_start(options: argparse.Namespace, folder: RunFolder) -> Start:
    """Read what the options name.

    Raises:
        FileNotFoundError, UserError: it is not there, or not what it should be.
    """
    if options.resume:
        content = load_checkpoint(folder.checkpoint, to_resume=True)
        config = ModelConfig.from_dict(content["config"])
        return Start(_stored(content, config), checkpoint=content, config=config)
    if options.weights is not None:
        detector, notes = read_model(options.weights)
        for note in notes:
            print(note, flush=True)
        config = detector.config
        return Start(_of(config), config=config, detector=detector, path=options.weights)
    if options.backbone_weights is not None:
        backbone = read_backbone_weights(options.backbone_weights)
        return Start(_asked_by(backbone), backbone=backbone, path=options.backbone_weights)
    return Start({})


def _of(config: ModelConfig) -> Values:
    """The options that make a model like this one."""
    model = {name: getattr(config, name) for name in MODEL}
    return {**model, **{name: getattr(config.preprocessing, name) for name in INPUT}}


def _asked_by(backbone: BackboneWeights) -> Values:
    """The options that a backbone's weights need."""
    values: Values = {}
    if backbone.stride_in_1x1:
        values["stride_in_1x1"] = True
    if backbone.folded:
        values["norm"] = "frozen_bn"
    return values


def _stored(checkpoint: Mapping[str, Any], config: ModelConfig) -> Values:
    """What a checkpoint was trained with."""
    notes = checkpoint.get("data", {})  # not in the first checkpoints of this package
    data = {name: notes[name] for name in NOTES if name in notes}
    settings = dataclasses.asdict(TrainingSettings(**checkpoint["settings"]))
    return {"recipe": None, **_of(config), **settings, **data}


def _config(
    start: Start,
    configuration: Configuration,
    class_names: tuple[str, ...],
    category_ids: tuple[int, ...],
) -> ModelConfig:
    """Of the options, and where they say nothing, of the file; another preset brings its rules.

    Raises:
        UserError: values that do not go together.
    """
    try:
        return _merged(start, configuration, class_names, category_ids)
    except ValueError as error:
        raise UserError(str(error)) from error


def _merged(
    start: Start,
    configuration: Configuration,
    class_names: tuple[str, ...],
    category_ids: tuple[int, ...],
) -> ModelConfig:
    own: dict[str, Any] = configuration.model
    own |= {"class_names": class_names, "category_ids": category_ids}
    if start.config is None:
        config = ModelConfig(**own)
    else:
        if own["preset"] != start.config.preset:
            # but the colours are what the weights are used to
            colours = {name: getattr(start.config.preprocessing, name) for name in _COLOURS}
            own |= dict.fromkeys(RULES)
            own["preprocessing"] = PREPROCESSING[own["preset"]]._replace(**colours)
        if own["norm"] != "frozen_bn" and start.config.norm_eps == 0:  # of fcos_core
            own["norm_eps"] = ModelConfig.norm_eps
        config = dataclasses.replace(start.config, **own)
    preprocessing = config.preprocessing
    if start.backbone is not None:
        preprocessing = start.backbone.applied_to(preprocessing)
    preprocessing = preprocessing._replace(**configuration.sides)
    return dataclasses.replace(config, preprocessing=preprocessing)
