"""A call of a public function: what it is made of, and how it is shown."""

import builtins
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

import fcos_ops

Arguments = dict[str, Any]
Slot = tuple[str, int | None]  # an argument, or one item of the list that it is

# What each op gives a gradient of; the other ops give none.
DIFFERENTIABLE = {
    "sigmoid_focal_loss": ("logits",),
    "iou_loss": ("pred", "target"),
    "centerness_loss": ("logits",),
    "fcos_loss": ("cls_logits", "ltrb", "centerness"),
    "group_norm": ("maps", "weight", "bias"),
}
LOSSES = tuple(DIFFERENTIABLE)
NUM_LOSSES = 3  # of the fields of FcosLosses, the first ones


@dataclass(frozen=True)
class Call:
    """A public function of fcos_ops and its arguments, all by name.

    gradient_seed, gradient_scale: what the incoming gradients are drawn from. note: what was done
    to the call. broken: the argument that was made wrong.
    """

    function: str
    arguments: Arguments = field(default_factory=dict)
    gradient_seed: int = 0
    gradient_scale: float = 1.0
    note: str = ""
    broken: str = ""

    def run(self) -> Any:
        return getattr(fcos_ops, self.function)(**self.arguments)

    def with_arguments(self, **changes: Any) -> "Call":
        return replace(self, arguments={**self.arguments, **changes})

    def tensors(self) -> list[Tensor]:
        return [value for _, value in slots(self) if isinstance(value, Tensor)]

    def with_tensors(self, change: Callable[[Tensor], Any]) -> "Call":
        """The call with every tensor replaced by what `change` makes of it."""
        changed = self
        for slot, value in slots(self):
            if isinstance(value, Tensor):
                changed = with_slot(changed, slot, change(value))
        return changed

    def __str__(self) -> str:
        shown = [f"    {name}={_shown(value)}," for name, value in self.arguments.items()]
        note = f"  # {self.note}" if self.note else ""
        return "\n".join([f"fcos_ops.{self.function}({note}", *shown, ")"])


def slots(call: Call) -> Iterator[tuple[Slot, Any]]:
    """Every argument; where it is a list of tensors, its items."""
    for name, value in call.arguments.items():
        if isinstance(value, list) and any(isinstance(item, Tensor) for item in value):
            for index, item in enumerate(value):
                yield (name, index), item
        else:
            yield (name, None), value


def with_slot(call: Call, slot: Slot, value: Any) -> Call:
    name, index = slot
    if index is None:
        return call.with_arguments(**{name: value})
    items = list(call.arguments[name])
    items[index] = value
    return call.with_arguments(**{name: items})


def differentiable_tensors(call: Call) -> list[Tensor]:
    names = DIFFERENTIABLE.get(call.function, ())
    return [v for (name, _), v in slots(call) if name in names and isinstance(v, Tensor)]


def names_argument(message: str, function: str, broken: str = "") -> bool:
    """Whether an error message names an argument of the function, the one that is `broken` where
    that is known; and does so in its own words, not in those of a C++ exception."""
    if re.search("Exception raised from|INTERNAL ASSERT|file an issue", message):
        return False
    if broken == "levels":  # maps that do not fit to them may be named instead
        return bool(re.search(r"\b(levels|cls_logits|ltrb|centerness)\b", message))
    names = [broken] if broken else inspect.signature(getattr(fcos_ops, function)).parameters
    return any(re.search(rf"\b{name}\b", message) for name in names)


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        try:
            return _shown_tensor(value)
        except Exception:  # a nested tensor has no shape, a wrapped one no values
            return f"<{value.layout} {type(value).__name__} of {value.dtype}>"
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value[:20]))}]"
    try:
        shown = repr(value)[:500]
        return shown if type(value).__name__ in dir(builtins) else f"{type(value).__name__} {shown}"
    except Exception:
        return f"<{type(value).__name__}>"


def _shown_tensor(value: Tensor) -> str:
    kind = "" if type(value) is Tensor else f"{type(value).__name__} "
    text = f"<{kind}{str(value.dtype)[6:]} {tuple(value.shape)}"
    if value.layout is torch.strided:
        text += f" strides {value.stride()} offset {value.storage_offset()}"
        allocated = value.is_cpu and value.data_ptr() != 0
        if allocated and value.numel() <= 12:
            text += f" {value.detach().tolist()}"
    return text + (" requires_grad>" if value.requires_grad else ">")
