"""A short look at the ops on this machine: do they equal their references, and how fast are they?

A glance for the demo, not a measurement to quote; benchmarks/ holds the suite.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

import fcos_ops
import fcos_ops.reference

_IMAGE = 512  # pixels, square
_CLASSES = 80
_BATCH = 2
_CHANNELS, _GROUPS = 256, 32  # of the pyramid and its group norms
_SECONDS_PER_TIMING = 0.5


class OpCase(NamedTuple):
    """An op on fixed inputs.

    Attributes:
        name: of the op.
        call: runs it, given the module to take it from (fcos_ops or fcos_ops.reference), and
            returns its results; with gradients, those of the inputs that have them.
        compiles: whether torch.compile of the reference is worth the wait (no Python loops).
    """

    name: str
    call: Callable[[ModuleType], list[Tensor]]
    compiles: bool


class OpRow(NamedTuple):
    """One line of the table: largest error relative to the largest value, median milliseconds."""

    name: str
    error: float
    ours: float
    eager: float
    compiled: float | None


def _random_boxes(generator: torch.Generator, count: int) -> Tensor:
    corner = torch.rand(count, 2, generator=generator) * _IMAGE * 0.8
    side = 8 + torch.rand(count, 2, generator=generator) ** 2 * _IMAGE * 0.4
    return torch.cat((corner, corner + side), 1)


def _with_gradient(
    loss: Callable[[ModuleType, Tensor], Tensor], x: Tensor
) -> Callable[[ModuleType], list[Tensor]]:
    def call(ops: ModuleType) -> list[Tensor]:
        leaf = x.detach().requires_grad_()
        value = loss(ops, leaf)
        return [value.detach(), *torch.autograd.grad(value, leaf)]

    return call


def op_cases(seed: int = 0) -> list[OpCase]:
    """Every op, on a batch of two 512 x 512 images with 80 classes and 256 channels."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    sides = [64, 32, 16, 8, 4]
    levels = fcos_ops.pyramid_levels([(side, side) for side in sides])
    locations = sum(side * side for side in sides)
    boxes = _random_boxes(generator, 40)
    classes = torch.randint(_CLASSES, (40,), generator=generator)
    offsets = torch.tensor([0, 15, 40])
    targets = fcos_ops.reference.assign_targets(levels, boxes, classes, offsets)
    logits = normal(_BATCH, locations, _CLASSES) - 3
    distances = normal(_BATCH, locations, 4).abs() + 0.1
    centerness = normal(_BATCH, locations)
    positive = (targets.labels >= 0).float()
    many = _random_boxes(generator, 1000)
    scores = torch.rand(1000, generator=generator)
    groups = torch.randint(10, (1000,), generator=generator)
    head = (
        [normal(_BATCH, _CLASSES, side, side) - 5 for side in sides],
        [normal(_BATCH, 4, side, side).abs() for side in sides],
        [normal(_BATCH, 1, side, side) for side in sides],
    )
    sizes = torch.full((_BATCH, 2), _IMAGE)
    features = [normal(_BATCH, _CHANNELS, side, side) for side in sides]
    affine = [1 + 0.1 * normal(_CHANNELS), 0.1 * normal(_CHANNELS)]

    def norm_and_relu(ops: ModuleType) -> list[Tensor]:
        maps = [x.detach().requires_grad_() for x in features]
        weight, bias = [x.detach().requires_grad_() for x in affine]
        normalized = ops.group_norm(maps, weight, bias, groups=_GROUPS, activation="relu")
        # of the squares: their gradient is continuous where the ReLU of a rounding error begins
        total = torch.stack([x.square().sum() for x in normalized]).sum()
        gradients = torch.autograd.grad(total, [*maps, weight, bias])
        return [*(x.detach() for x in normalized), *gradients]

    def whole_loss(ops: ModuleType) -> list[Tensor]:
        maps = [[x.detach().requires_grad_() for x in group] for group in head]
        losses = ops.fcos_loss(*maps, boxes, classes, offsets, levels=levels)
        total = losses.classification + losses.bbox_regression + losses.centerness
        inputs = [x for group in maps for x in group]
        return [total.detach(), *torch.autograd.grad(total, inputs)]

    return [
        OpCase(
            "sigmoid_focal_loss",
            _with_gradient(lambda ops, x: ops.sigmoid_focal_loss(x, targets.labels), logits),
            True,
        ),
        OpCase(
            "assign_targets",
            lambda ops: list(ops.assign_targets(levels, boxes, classes, offsets)),
            False,
        ),
        OpCase(
            "iou_loss",
            _with_gradient(
                lambda ops, x: ops.iou_loss(
                    x, targets.ltrb, kind="giou", box_format="ltrb", weight=positive
                ),
                distances,
            ),
            True,
        ),
        OpCase("centerness_target", lambda ops: [ops.centerness_target(distances)], True),
        OpCase(
            "centerness_loss",
            _with_gradient(
                lambda ops, x: ops.centerness_loss(x, targets.centerness, labels=targets.labels),
                centerness,
            ),
            True,
        ),
        OpCase("nms", lambda ops: [ops.nms(many, scores, 0.6)], False),
        OpCase("batched_nms", lambda ops: [ops.batched_nms(many, scores, groups, 0.6)], False),
        OpCase(
            "nms_padded",
            lambda ops: list(
                ops.nms_padded(
                    many,
                    scores,
                    groups,
                    torch.tensor([0, 400, 1000]),
                    iou_threshold=0.6,
                    score_threshold=0.05,
                    max_detections=100,
                )
            ),
            False,
        ),
        OpCase(
            "postprocess", lambda ops: list(ops.postprocess(*head, sizes, levels=levels)), False
        ),
        OpCase("fcos_loss", whole_loss, False),
        OpCase("group_norm", norm_and_relu, False),
    ]


def relative_error(ours: list[Tensor], reference: list[Tensor]) -> float:
    """Largest difference over the largest value of each result; inf for NaN or another shape."""
    worst = 0.0
    for a, b in zip(ours, reference, strict=True):
        if a.shape != b.shape:
            return math.inf
        if a.numel():
            scale = max(b.double().abs().max().item(), 1e-12)
            error = (a.double() - b.double()).abs().max().item() / scale
            worst = max(worst, error if math.isfinite(error) else math.inf)
    return worst


def _median_ms(call: Callable[[], object], seconds: float) -> float:
    call()
    times: list[float] = []
    stop = time.perf_counter() + seconds
    while len(times) < 3 or (time.perf_counter() < stop and len(times) < 200):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e3


def _compiled_ms(case: OpCase, seconds: float) -> float | None:
    """Median of torch.compile of the reference; None where it does not compile here."""
    if not case.compiles:
        return None
    compiled = ModuleType("compiled_reference")
    function = torch.compile(getattr(fcos_ops.reference, case.name))
    setattr(compiled, case.name, function)
    try:
        return _median_ms(lambda: case.call(compiled), seconds)
    except Exception as error:  # no C++ compiler, an unsupported platform: the table says "-"
        print(f"torch.compile of {case.name} failed: {str(error).splitlines()[0]}")
        return None


def measure(case: OpCase, seconds: float = _SECONDS_PER_TIMING) -> OpRow:
    """Compare and time one op; each timing takes about that many seconds."""
    error = relative_error(case.call(fcos_ops), case.call(fcos_ops.reference))
    return OpRow(
        case.name,
        error,
        _median_ms(lambda: case.call(fcos_ops), seconds),
        _median_ms(lambda: case.call(fcos_ops.reference), seconds),
        _compiled_ms(case, seconds),
    )


def print_report() -> float:
    """Print the table of all ops; return the largest error."""
    print(f"{'op':<20} {'max rel error':>13} {'ours ms':>9} {'eager ms':>9} {'compiled ms':>11}")
    worst = 0.0
    for case in op_cases():
        row = measure(case)
        worst = max(worst, row.error)
        compiled = "-" if row.compiled is None else f"{row.compiled:.2f}"
        print(
            f"{row.name:<20} {row.error:>13.1e} {row.ours:>9.2f} {row.eager:>9.2f} {compiled:>11}",
            flush=True,
        )
    print(
        f"batch {_BATCH}, {_IMAGE} x {_IMAGE}, {_CLASSES} classes; losses and group_norm with "
        "their backward pass; eager and compiled: the reference in plain PyTorch"
    )
    return worst
