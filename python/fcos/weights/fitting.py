"""Taking over what fits of another detector's weights."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import a_few
from ..models import FCOS, ModelConfig

_CLASS_LAYER = "head.classification_head.cls_logits"


def fit_detector(model: FCOS, source: FCOS) -> str:
    """Copy the weights of `source` that fit `model`, and leave the others as they are.

    The rows of the class layer are those of categories of the same name, or of the same id where
    `source` has no names; a new category starts from the prior.

    Returns:
        One line that says what did not fit, and what of `source` has no place in `model`.
    """
    own, theirs = model.state_dict(), source.state_dict()
    layer = [f"{_CLASS_LAYER}.{name}" for name in ("weight", "bias")]
    counted = [n for n in own if n not in layer and not n.endswith("num_batches_tracked")]
    fitting = {n: theirs[n] for n in own if n in theirs and theirs[n].shape == own[n].shape}
    rows = _same_categories(model.config, source.config)
    if own[layer[0]].shape[1:] != theirs[layer[0]].shape[1:]:
        rows = []
    for name in layer:
        fitting[name] = _with_rows(own[name], theirs[name], rows)
    model.load_state_dict(fitting, strict=False)
    left = [name for name in counted if name not in fitting]
    line = f"weights: {len(counted) - len(left)} of {len(counted)} tensors fit"
    if left:
        line += f", not {a_few(left)}"
    if unused := [n for n in theirs if n not in own and not n.endswith("num_batches_tracked")]:
        line += f"; {len(unused)} of the file's are left out: {a_few(unused)}"
    new = model.config.num_classes - len(rows)
    if new:
        some = a_few(_new_names(model.config, rows))
        line += f"; {new} of {model.config.num_classes} classes start from the prior: {some}"
    return line


def _same_categories(ours: ModelConfig, theirs: ModelConfig) -> list[tuple[int, int]]:
    """Channels of ours and theirs that stand for the same category."""
    both = list(zip(theirs.category_ids, theirs.class_names, strict=True))
    by_both = {pair: channel for channel, pair in enumerate(both)}  # where a name is there twice
    by_name = {name: channel for channel, name in enumerate(theirs.class_names) if name}
    by_id: dict[int | None, int] = {
        number: channel
        for channel, (number, name) in enumerate(both)
        if number is not None and not name
    }
    found = []
    for channel, (number, name) in enumerate(zip(ours.category_ids, ours.class_names, strict=True)):
        other = by_both.get((number, name), by_name.get(name, by_id.get(number)))
        if other is not None:
            found.append((channel, other))
    return found


def _with_rows(own: Tensor, theirs: Tensor, rows: list[tuple[int, int]]) -> Tensor:
    """A copy of `own` with some rows of `theirs`."""
    result = own.clone()
    if rows:
        to, of = torch.tensor(rows, device=own.device).unbind(1)
        result[to] = theirs.to(own)[of]
    return result


def _new_names(config: ModelConfig, rows: list[tuple[int, int]]) -> list[str]:
    known = {channel for channel, _ in rows}
    return [name for channel, name in enumerate(config.class_names) if channel not in known]
