"""Backbones that were trained on ImageNet, and what they ask of the network and its input."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import UserError, a_few
from ..models.resnet import ResNet
from ..preprocessing import ChannelOrder, Preprocessing
from .colours import BGR_MEAN, BGR_STD, NO_STD, RGB_MEAN, RGB_STD
from .detectron2 import resnet_rules
from .files import read_weights_file
from .loading import load_weights
from .renaming import Rules, rename
from .state import find_weights, tensors, without_wrappers

Colour = tuple[float, float, float]

_KIND = "file of backbone weights"
_CAFFE2_NORM = {
    "weight": "(?:s|gamma)",
    "bias": "(?:b|beta)",
    "running_mean": "(?:rm|running_mean)",
    "running_var": "(?:riv|running_var)",
}
_CAFFE2_BRANCHES = {  # of a block: where their convolution and its norm are here
    "1": ("downsample.0", "downsample.1"),
    "2a": ("conv1", "bn1"),
    "2b": ("conv2", "bn2"),
    "2c": ("conv3", "bn3"),
}


class BackboneWeights(NamedTuple):
    """Weights of a ResNet or ResNeXt, under `ResNet`'s names.

    Attributes:
        state: of the network without its classifier.
        stride_in_1x1: where the network must have its strides; see `ResNet`.
        folded: the statistics of its batch norms are part of their scales and shifts, as in
            Detectron's files: right for fixed norms only.
        channel_order, max_value, mean, std: of the input; see `Preprocessing`.
    """

    state: dict[str, Tensor]
    stride_in_1x1: bool = False
    folded: bool = False
    channel_order: ChannelOrder = "rgb"
    max_value: float = 1.0
    mean: Colour = (0.485, 0.456, 0.406)
    std: Colour = (0.229, 0.224, 0.225)

    def applied_to(self, preprocessing: Preprocessing) -> Preprocessing:
        """The same sizes in these colours."""
        return preprocessing._replace(
            channel_order=self.channel_order,
            max_value=self.max_value,
            mean=self.mean,
            std=self.std,
        )


def read_backbone_weights(path: str | os.PathLike[str]) -> BackboneWeights:
    """Read the weights of an ImageNet classifier.

    Known are the layouts of torchvision (and whoever keeps its names, as timm), of Caffe2 (MSRA's
    and FAIR's models, as Detectron and detectron2 offer them), and of detectron2
    (tools/convert-torchvision-to-d2.py). The names tell which one it is, not the file's name.

    Raises:
        FileNotFoundError: no such file.
        UserError: not such a file.
    """
    weights = without_wrappers(find_weights(read_weights_file(path, _KIND), path), path)
    weights = {name: value for name, value in weights.items() if not _left_out(name)}
    for layout, read in _LAYOUTS.items():
        if layout in weights:
            return read(weights, path)
    if any(name.startswith("backbone.") for name in weights):
        raise UserError(f"{path} must hold the weights of a ResNet alone, got a whole detector")
    raise UserError(
        f"{path} must hold the weights of a ResNet ({', '.join(_LAYOUTS)}, ...), got "
        f"{len(weights)} others: {a_few(weights)}"
    )


def load_backbone(body: ResNet, weights: BackboneWeights, path: str | os.PathLike[str]) -> None:
    """Load weights that `read_backbone_weights` read from `path`, which messages name.

    Raises:
        UserError: they are of another network, or need fixed norms and it has others.
    """
    trained = (nn.BatchNorm2d, nn.SyncBatchNorm)
    if weights.folded and any(isinstance(module, trained) for module in body.modules()):
        raise UserError(
            f"{path} holds batch norms with their statistics folded in: take norm frozen_bn"
        )
    try:
        load_weights(body, weights.state)
    except ValueError as error:
        raise UserError(f"{path} does not fit this backbone: {error}") from error


def _left_out(name: str) -> bool:
    """The classifier; what Caffe2's optimizer kept; Detectron's note on the order of weights."""
    return (
        name.startswith(("fc.", "fc1000_", "pred_", "stem.fc."))
        or name.endswith("_momentum")
        or name == "weight_order"
    )


def _torchvision(weights: Mapping[str, Any], path: str | os.PathLike[str]) -> BackboneWeights:
    return BackboneWeights(tensors(weights, path))


def _detectron2(weights: Mapping[str, Any], path: str | os.PathLike[str]) -> BackboneWeights:
    """Of torchvision's networks: the conversion tool states these colours and this stride."""
    state = _renamed(tensors(weights, path), resnet_rules("", ""), path)
    return BackboneWeights(state, max_value=255.0, mean=RGB_MEAN, std=RGB_STD)


def _caffe2(weights: Mapping[str, Any], path: str | os.PathLike[str]) -> BackboneWeights:
    """MSRA's ResNets have their strides in the 1x1 convolutions, FAIR's ResNeXts in the 3x3.

    Inputs are BGR up to 255 less a mean, for which detectron2's 103.53, 116.28, 123.675 is taken;
    Detectron and fcos_core have 102.9801, 115.9465, 122.7717 with the same files. A deviation is
    divided by in one case alone, the ResNeXt-101-32x8d of detectron2, which is known by its batch
    norms: detectron2's files have statistics, while Detectron's have them folded in.
    """
    blobs = tensors(weights, path)
    bias = blobs.pop("conv1_b", None)
    state = _renamed(blobs, _caffe2_rules(), path)
    folded = "bn1.running_mean" not in state
    if folded:
        for name in [name for name in state if re.search(r"(bn\d|downsample\.1)\.weight$", name)]:
            norm = name.removesuffix("weight")
            state[norm + "running_mean"] = torch.zeros_like(state[name])
            state[norm + "running_var"] = torch.ones_like(state[name])
    if bias is not None:  # of MSRA's ResNet-50; a shift before a norm is a shift of its mean
        mean = state.get("bn1.running_mean")
        if mean is not None and mean.shape == bias.shape:
            state["bn1.running_mean"] = mean - bias
        else:
            state["conv1.bias"] = bias  # no part of any network here, which is then said
    inner = state.get("layer1.0.conv2.weight")
    grouped = inner is not None and inner.ndim == 4 and inner.shape[1] < inner.shape[0]
    bottlenecks = "layer1.0.conv3.weight" in state
    divided = grouped and not folded
    return BackboneWeights(
        state,
        stride_in_1x1=bottlenecks and not grouped,
        folded=folded,
        channel_order="bgr",
        max_value=255.0,
        mean=BGR_MEAN,
        std=BGR_STD if divided else NO_STD,
    )


def _caffe2_rules() -> Rules:
    """For "res2_0_branch2a_bn_s" and the like; the stem is "conv1" and its norm "res_conv1_bn"."""
    rules = [("conv1_w", "conv1.weight")]
    rules += [
        (f"(?:res_)?conv1_bn_{theirs}", f"bn1.{ours}") for ours, theirs in _CAFFE2_NORM.items()
    ]
    for stage in range(1, 5):
        for branch, (convolution, norm) in _CAFFE2_BRANCHES.items():
            block, layer = rf"res{stage + 1}_(\d+)_branch{branch}_", rf"layer{stage}.\1."
            rules.append((block + "w", f"{layer}{convolution}.weight"))
            for ours, theirs in _CAFFE2_NORM.items():
                rules.append((f"{block}bn_{theirs}", f"{layer}{norm}.{ours}"))
    return rules


def _renamed(
    weights: Mapping[str, Tensor], rules: Rules, path: str | os.PathLike[str]
) -> dict[str, Tensor]:
    try:
        return rename(weights, rules)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


# by the name of the first convolution
_LAYOUTS: dict[str, Callable[[Mapping[str, Any], str | os.PathLike[str]], BackboneWeights]] = {
    "conv1.weight": _torchvision,
    "conv1_w": _caffe2,
    "stem.conv1.weight": _detectron2,
}
