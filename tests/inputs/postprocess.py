"""Problems for the tests of postprocess, and what its results are compared with."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

import fcos_ops
from fcos_ops import Level, PostprocessRule, reference
from fcos_ops.results import Detections

Heads = tuple[list[Tensor], list[Tensor], list[Tensor]]

SIZES = ((13, 18), (7, 9), (4, 5), (2, 3), (1, 1))
# Everything is a detection: one candidate of each class of each location, none suppressed.
ALL = PostprocessRule("class", "score", "sqrt", -1.0, 10**9, 1.0, 10**5, "after_nms", False)
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels_last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "transposed": lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
    "cropped": lambda t: torch.nn.functional.pad(t, (1, 3, 2, 1))[..., 2:-1, 1:-3],
    "cropped_last": lambda t: torch.nn.functional.pad(t, (1, 3, 2, 1)).contiguous(
        memory_format=torch.channels_last
    )[..., 2:-1, 1:-3],
    "strided": lambda t: t[..., None].expand(-1, -1, -1, -1, 2).flatten(3)[..., ::2],
    "batch_inside": lambda t: t.movedim(0, 3).contiguous().movedim(3, 0),
    "offset_channels": lambda t: torch.cat([t, t], 1)[:, t.shape[1] :],
}


def make_heads(batch: int, classes: int, sizes: Sequence[Any] = SIZES, bias: float = -1.0) -> Heads:
    """Random head outputs in float64, each level with its own share of strong logits."""
    cls_logits = [torch.randn(batch, classes, h, w).double() * 2 + bias for h, w in sizes]
    ltrb = [torch.rand(batch, 4, h, w).double() * 5 for h, w in sizes]
    return cls_logits, ltrb, [torch.randn(batch, 1, h, w).double() for h, w in sizes]


def to(heads: Heads, *arguments: Any, **options: Any) -> Heads:
    cls_logits, ltrb, centerness = ([t.to(*arguments, **options) for t in head] for head in heads)
    return cls_logits, ltrb, centerness


def levels_of(heads: Heads, scale: float = 8.0) -> tuple[Level, ...]:
    return tuple(
        Level(t.shape[2], t.shape[3], 8 << i, 8 << i, scale * 2**i, 0.0, math.inf)
        for i, t in enumerate(heads[0])
    )


def image_sizes(heads: Heads) -> Tensor:
    """Somewhat smaller than the padded batch, different for each image."""
    _, _, height, width = heads[0][0].shape
    return torch.tensor([(8 * height - 9 * b, 8 * width - 5 * b) for b in range(len(heads[0][0]))])


def detect(heads: Heads, rule: Any, **options: Any) -> Detections:
    options.setdefault("levels", levels_of(heads))
    sizes = options.pop("sizes", image_sizes(heads))
    return fcos_ops.postprocess(*heads, sizes, rule=rule, **options)


def assert_equal(actual: Detections, expected: Detections) -> None:
    for name, a, b in zip(Detections._fields, actual, expected, strict=True):
        assert torch.equal(a, b), name


def assert_near(actual: Detections, expected: Detections, tolerance: float) -> None:
    """The same detections; boxes and scores as near as `tolerance` says, relatively."""
    assert torch.equal(actual.count, expected.count)
    assert torch.equal(actual.labels, expected.labels)
    for name in ("boxes", "scores"):
        a, b = getattr(actual, name).double(), getattr(expected, name).double()
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def reference_of(heads: Heads, rule: Any, **options: Any) -> Detections:
    """In float64, which the random scores are far enough from ties for."""
    exact = to(heads, torch.float64)
    options = {"levels": levels_of(heads), "rule": rule, **options}
    return reference.postprocess(*exact, image_sizes(heads), **options)
