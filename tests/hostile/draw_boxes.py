"""Valid calls of non-maximum suppression, target assignment and `pyramid_levels`."""

import math
from random import Random
from typing import Any

import torch
from torch import Tensor

from fcos_ops import ASSIGNMENT_RULES, Level
from tests.hostile import draw
from tests.hostile.calls import Call
from tests.inputs.nms import LAYOUTS, THRESHOLDS, integral, tied

STRIDES = (1, 2, 4, 7, 8, 16, 32, 64, 100, 128)
RANGES = ((-1.0, 64.0), (0.0, math.inf), (64, 128), (32.0, 1e8), (-math.inf, math.inf))


def _counts(rng: Random, images: int) -> list[int]:
    return [rng.choice([0, 0, 1, 2, 5, 8, 40]) for _ in range(images)]


def _offsets(rng: Random, counts: list[int]) -> Tensor:
    offsets = torch.tensor([0, *counts]).cumsum(0).to(rng.choice(draw.INTEGERS))
    return draw.laid_out(rng, offsets, may_repeat=False)


def _scored(rng: Random, count: int) -> dict[str, Any]:
    boxes = rng.choice(LAYOUTS)(count)
    if draw.often(rng, 0.1):
        boxes = integral(count).double()
    scores = torch.randn(count) if draw.often(rng, 0.5) else tied(count)
    scores = draw.sprinkled(rng, scores, (draw.NAN, draw.INF, -draw.INF, -0.0, 0.0, 1e-40))
    return {
        "boxes": draw.laid_out(rng, boxes.to(draw.dtype(rng))),
        "scores": draw.laid_out(rng, scores.to(draw.dtype(rng))),
    }


def _threshold(rng: Random) -> float:
    return rng.choice([*THRESHOLDS, 0, 1, rng.random()])


def _ids(rng: Random, count: int) -> Tensor:
    kind = rng.choice(draw.INTEGERS)
    wide = torch.tensor([0, -1, 5, 2**31 - 1, 2**62 if kind == torch.int64 else 7])
    ids = wide[torch.randint(0, rng.randint(1, 5), (count,))].to(kind)
    return draw.laid_out(rng, ids)


def _count(rng: Random) -> int:
    return rng.choice([0, 1, 2, 5, 33, 100, 100, 300])


def nms(rng: Random) -> Call:
    arguments = _scored(rng, _count(rng))
    return Call("nms", {**arguments, "iou_threshold": _threshold(rng)})


def batched_nms(rng: Random) -> Call:
    count = _count(rng)
    arguments = {**_scored(rng, count), "idxs": _ids(rng, count)}
    return Call("batched_nms", {**arguments, "iou_threshold": _threshold(rng)})


def nms_padded(rng: Random) -> Call:
    counts = _counts(rng, rng.randint(0, 6))
    if draw.often(rng, 0.03):  # crops by the thousand; memory must go with boxes, not with images
        counts += [0] * 500_000
    count = sum(counts)
    arguments = _scored(rng, count)
    arguments["classes"] = None if draw.often(rng, 0.3) else _ids(rng, count)
    arguments["offsets"] = _offsets(rng, counts)
    arguments["iou_threshold"] = _threshold(rng)
    arguments["score_threshold"] = rng.choice([None, 0.05, 0, 0.125, -math.inf, math.inf, -1e300])
    most = 2 if len(counts) > 1000 else 100
    arguments["max_detections"] = rng.choice([0, 1, 3, most])
    return Call("nms_padded", arguments)


def sizes(rng: Random, most: int = 9) -> list[tuple[int, int]]:
    """(height, width) of each level, ragged."""
    count = 16 if draw.often(rng, 0.02) else rng.randint(1, 5)
    first = 0 if draw.often(rng, 0.1) else 1
    return [(rng.randint(first, most), rng.randint(first, most)) for _ in range(count)]


def levels(rng: Random, grids: list[tuple[int, int]]) -> tuple[Level, ...]:
    regular = draw.often(rng, 0.7)
    result = []
    for index, (height, width) in enumerate(grids):
        stride = 8 << min(index, 4) if regular else rng.choice(STRIDES)
        stride_x = stride if draw.often(rng, 0.8) else rng.choice(STRIDES)
        lower, upper = rng.choice(RANGES)
        scale = rng.choice([float(stride), stride, 0.5, 24.0])
        result.append(Level(height, width, stride, stride_x, scale, lower, upper))
    return tuple(result)


def rule(rng: Random) -> Any:
    name = rng.choice(list(ASSIGNMENT_RULES))
    if draw.often(rng, 0.5):
        return name
    return ASSIGNMENT_RULES[name]._replace(
        location_offset=rng.choice([0.5, 0, 0.25, -1.0]),
        center_radius=rng.choice([1.5, 0.0, -1, 0.5, 2.25, math.inf]),
        center_region=rng.choice(["clipped", "chebyshev"]),
        range_inclusive=draw.often(rng, 0.5),
        area_rule=rng.choice(["exact", "float32_complement"]),
        max_area=rng.choice([1e8, 2000, math.inf]),
        normalize_ltrb=draw.often(rng, 0.5),
    )


def ground_truth(rng: Random, images: int, classes: int, wild: bool) -> dict[str, Tensor]:
    """Boxes of which float32 and float64 make the same matches: corners are multiples of 1/4."""
    counts = _counts(rng, images)
    count = sum(counts)
    first = (torch.rand(count, 2) * 160 - 20).mul(4).round() / 4
    size = (torch.exp2(torch.rand(count, 2) * 7) * 4).round() / 4
    boxes = torch.cat([first, first + size], 1)
    if wild:
        boxes = draw.sprinkled(rng, boxes, (draw.NAN, draw.INF, -draw.INF, -0.0, 0.0))
    kind = rng.choice([torch.float32, torch.float32, torch.float64, torch.bfloat16])
    labels = torch.randint(0, max(classes, 1), (count,)).to(rng.choice(draw.INTEGERS))
    if draw.often(rng, 0.2):
        labels[::3] = rng.choice([-1, -2, classes])
    return {
        "boxes": draw.laid_out(rng, boxes.to(kind)),
        "labels": draw.laid_out(rng, labels),
        "offsets": _offsets(rng, counts),
    }


def assign_targets(rng: Random) -> Call:
    arguments = {"levels": levels(rng, sizes(rng, 20))}
    arguments.update(ground_truth(rng, rng.randint(0, 3), 80, True))
    return Call("assign_targets", {**arguments, "rule": rule(rng)})


def pyramid_levels(rng: Random) -> Call:
    chosen = rule(rng)
    count = 5
    if not isinstance(chosen, str):
        count = rng.randint(1, 6)
        chosen = chosen._replace(
            derived_strides=draw.often(rng, 0.5),
            ranges=tuple(rng.choice(RANGES) for _ in range(count)),
        )
    grids = [(rng.randint(1, 40), rng.randint(1, 40)) for _ in range(count)]
    arguments: dict[str, Any] = {"sizes": rng.choice([list, tuple])(grids), "rule": chosen}
    if count != 5 or draw.often(rng, 0.5):
        arguments["strides"] = [rng.choice(STRIDES) for _ in range(count)]
    if draw.often(rng, 0.5):
        arguments["image_size"] = rng.choice([(40, 800), [320, 1333], (40, 40)])
    return Call("pyramid_levels", arguments)
