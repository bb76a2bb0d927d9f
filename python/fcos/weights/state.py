"""The weights in what a file holds: tensors under names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError, a_few, shorten
from .pickles import Stub, to_tensor

# under which training tools put the weights, those that they go on with before their averages
_PLACES = (
    *("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network"),
    *("weights", "params", "blobs", "ema_state_dict", "state_dict_ema", "model_ema", "ema"),
)
_MAX_DEPTH = 5
_WRAPPERS = ("module.", "_orig_mod.", "model.")


def unwrap(content: object, path: str | os.PathLike[str] = "the file") -> dict[str, Tensor]:
    """The weights in what `read_weights_file` gives, under the names that the network had.

    They may lie a few levels deep, as under "state_dict" (mmdetection, lightning, timm), "model"
    (torchvision, detectron2, fcos_core) or "blobs" (Detectron). Where several such names are
    there, the weights that were trained go before their average, and "state_dict" goes before
    "model". A prefix that all names share because the network was wrapped goes: "module." of
    DistributedDataParallel, "_orig_mod." of torch.compile, "model." of lightning. Arrays become
    tensors.

    Args:
        path: what messages call the file.

    Raises:
        UserError: no mapping, or of other things than dense tensors, or of a whole module.
    """
    return tensors(without_wrappers(find_weights(content, path), path), path)


def find_weights(content: object, path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """The mapping of weights in `content`, whatever its values are.

    Raises: as `unwrap`.
    """
    for _ in range(_MAX_DEPTH):
        if _is_module(content):
            raise UserError(
                f"{path} must hold weights, got a whole module, {_kind(content)}: save its "
                "state_dict() instead"
            )
        if not isinstance(content, Mapping):
            raise UserError(f"{path} must hold a mapping of weights, got {_kind(content)}")
        inner = [content[name] for name in _PLACES if isinstance(content.get(name), Mapping | Stub)]
        if not inner:
            return content
        content = inner[0]
    raise UserError(f"{path} must hold weights at most {_MAX_DEPTH} mappings deep")


def without_wrappers(weights: Mapping[str, Any], path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Without the prefixes of DistributedDataParallel and the like, where all names have them."""
    if strange := [name for name in weights if not isinstance(name, str)]:
        raise UserError(f"{path}: names of weights must be texts, got {a_few(strange)}")
    for prefix in _WRAPPERS * 2:  # in any order
        if weights and all(name.startswith(prefix) for name in weights):
            weights = {name[len(prefix) :]: value for name, value in weights.items()}
    return weights


def tensors(weights: Mapping[str, Any], path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Arrays as tensors.

    Raises: as `unwrap`.
    """
    if not weights:
        raise UserError(f"{path} must hold weights, got an empty mapping")
    found = {n: v if isinstance(v, Tensor) else to_tensor(v) for n, v in weights.items()}
    if others := [name for name, value in found.items() if not is_dense(value)]:
        kind = _kind(weights[others[0]])
        raise UserError(
            f"{path} must hold tensors alone, got {len(others)} of {len(found)} entries that are "
            f"none ({a_few(others)}; the first is {kind})"
        )
    return {name: value for name, value in found.items() if value is not None}


def is_dense(value: object) -> bool:
    """Whether it is a tensor with all its numbers in memory, which is what a weight is."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_quantized
        and not value.is_meta
    )


def _is_module(value: object) -> bool:
    state = value.state if isinstance(value, Stub) else None
    return isinstance(state, Mapping) and "_parameters" in state


def _kind(value: object) -> str:
    return shorten(value.path, 60) if isinstance(value, Stub) else type(value).__name__
