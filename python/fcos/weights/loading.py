"""Weights into a network, with an error that a person can read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import a_few, brief
from ..models import FCOS, ModelConfig
from .state import is_dense

_COUNTER = "num_batches_tracked"  # of nn.BatchNorm2d, and of no fixed norm
_STATISTICS = ("running_mean", "running_var")


def build(config: ModelConfig, weights: object) -> FCOS:
    """The detector of `config` with these weights, on the CPU and in training mode.

    It takes the tensors themselves where it can, so that they are in memory once and nothing is
    drawn at random before.

    Raises: as `load_weights`.
    """
    with torch.device("meta"), _Undrawn():
        model = FCOS(config)
    load_weights(model, weights)
    return model


class _Undrawn(TorchFunctionMode):
    """Skips what initialises weights. On the meta device it would do nothing, either, but the first
    random number there makes torch import its compiler, which takes seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        of_init = getattr(func, "__module__", None) == "torch.nn.init"
        if of_init or func in (Tensor.normal_, Tensor.uniform_):
            return None
        return func(*args, **(kwargs or {}))


def load_weights(module: nn.Module, weights: object) -> None:
    """Load a dictionary of tensors under the names of the module's own, whatever their precision.

    Into a module on the meta device the tensors go themselves, where their dtype is right and they
    have their memory for themselves; into another one they are copied. What the module has in
    float32 stays float32, and frozen parameters stay frozen. The counters of batch norms, which
    are kept for the momentum alone, need not be there: they start at 0.

    Raises:
        ValueError: not such a dictionary, of another network, or not finite; nothing was loaded.
            The message has up to three names of each difference, how many there are, and the
            likely cause.
    """
    if not isinstance(weights, Mapping):
        raise ValueError(f"weights must be in a dictionary, got {type(weights).__name__}")
    for name, value in weights.items():
        if not isinstance(name, str) or not is_dense(value):
            raise ValueError(
                "weights must be dense tensors under their names, "
                f"got {type(value).__name__} under {brief(name)}"
            )
    own = module.state_dict()
    given = {name: value for name, value in weights.items() if name in own}
    for name in own.keys() - given.keys():
        if name.endswith(_COUNTER):
            given[name] = torch.zeros_like(own[name], device="cpu")
    if differences := _differences(own, given, weights):
        raise ValueError(differences)
    to_take = any(value.is_meta for value in own.values())
    if to_take:
        given = _owned(given, own)
    module.load_state_dict(given, assign=to_take)
    left = [n for n, t in (*module.named_parameters(), *module.named_buffers()) if t.is_meta]
    if left:
        raise RuntimeError(f"no weights give the network its {a_few(left)}")


def _differences(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> str:
    missing = [name for name in own if name not in given]
    unknown = [name for name in weights if name not in own and not name.endswith(_COUNTER)]
    shapes = [name for name in given if given[name].shape != own[name].shape]
    kinds = [n for n in given if given[n].is_floating_point() != own[n].is_floating_point()]
    found = []
    if missing:
        found.append(f"{len(missing)} of {len(own)} missing ({a_few(missing)})")
    if unknown:
        found.append(f"{len(unknown)} not of this network ({a_few(unknown)})")
    if shapes:
        sizes = (list(tensors[shapes[0]].shape) for tensors in (own, given))
        wanted, got = sizes
        found.append(
            f"{len(shapes)} of another shape ({a_few(shapes)}; the first must be {wanted}, got "
            f"{got})"
        )
    if kinds:
        found.append(
            f"{len(kinds)} of another kind ({a_few(kinds)}; the first must be "
            f"{own[kinds[0]].dtype}, got {given[kinds[0]].dtype})"
        )
    if not found:
        odd = [name for name, value in given.items() if not _is_finite(value)]
        return f"weights: {len(odd)} not finite ({a_few(odd)})" if odd else ""
    strange = {**{n: own[n] for n in missing}, **{n: weights[n] for n in unknown}}
    return f"weights: {', '.join(found)} (are they of {_cause(strange, shapes)}?)"


def _is_finite(value: Tensor) -> bool:
    """A sum is not where any number is not, and takes a tenth of the time to see that."""
    return bool(value.sum().isfinite() or value.isfinite().all())


def _cause(strange: Mapping[str, Tensor], shapes: list[str]) -> str:
    """Of tensors that one side alone has, and of names of those of another shape."""
    layers = any(tensor.dim() > 1 for tensor in strange.values())
    if not layers and any(name.endswith(_STATISTICS) for name in strange):
        return "another norm"
    if shapes and not strange:
        return "another width or number of classes"
    return "another network"


def _owned(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that a module can take: of its dtype, and each alone in its memory, which would
    otherwise stay as long as any of them, and change with any of them."""
    places: set[int] = set()
    taken = {}
    for name, value in given.items():
        tensor = value.detach().to(own[name].dtype)
        storage = tensor.untyped_storage()
        alone = storage.nbytes() == tensor.nbytes and storage.data_ptr() not in places
        if not alone or not tensor.is_contiguous():
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        places.add(tensor.untyped_storage().data_ptr())
        taken[name] = tensor
    return taken
