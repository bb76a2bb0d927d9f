"""Valid calls of the ops that read a head's maps: `fcos_loss` and `postprocess`."""

import math
from random import Random
from typing import Any

import torch
from torch import Tensor

import fcos_ops
from fcos_ops import LOSS_RULES, POSTPROCESS_RULES, LossRule, PostprocessRule
from tests.hostile import draw
from tests.hostile.calls import Call, differentiable_tensors
from tests.hostile.draw_boxes import ground_truth, levels, rule, sizes

KINDS = ("iou", "linear_iou", "giou", "diou", "ciou")


def twice(counts: Tensor) -> Tensor:
    return counts * 2


def in_float64(counts: Tensor) -> Tensor:
    return counts.double() + 0.5


def learned(counts: Tensor) -> Tensor:
    """Times a number that asks for a gradient, which it does not get."""
    return counts * torch.ones((), requires_grad=True)


def _batch_and_classes(rng: Random, grids: list[tuple[int, int]]) -> tuple[int, int]:
    classes = rng.choice([1, 2, 3, 4, 5, 5, 20])
    if sum(h * w for h, w in grids) < 60:
        classes = rng.choice([classes, 0, 80, 80, 1203])
    return rng.choice([0, 1, 1, 2, 2, 3]), classes


def fcos_loss(rng: Random) -> Call:
    grids = sizes(rng)
    batch, classes = _batch_and_classes(rng, grids)
    kinds = [draw.dtype(rng)] * 3 if draw.often(rng, 0.6) else [draw.dtype(rng) for _ in range(3)]
    arguments: dict[str, Any] = {
        "cls_logits": [draw.logits(rng, (batch, classes, h, w), kinds[0]) for h, w in grids],
        "ltrb": [_distances(rng, (batch, 4, h, w), kinds[1]) for h, w in grids],
        "centerness": [draw.logits(rng, (batch, 1, h, w), kinds[2]) for h, w in grids],
        "levels": levels(rng, grids),
        **ground_truth(rng, batch, classes, False),
    }
    scales = [1.0, 1024, 2.0**20, 1e-30, 1e30, *map(torch.tensor, (2.0**14, 0.0, math.inf, -1.0))]
    options = {
        "rule": rule(rng),
        "loss": rng.choice([None, *LOSS_RULES, _loss_rule(rng), _loss_rule(rng)]),
        "normalize": rng.choice([None, fcos_ops.mean_over_processes, twice, in_float64, learned]),
        "expected_scale": rng.choice(scales),
    }
    arguments.update({name: value for name, value in options.items() if draw.often(rng, 0.5)})
    call = Call("fcos_loss", arguments, gradient_scale=rng.choice([1.0, 1024.0, 2.0**14, 1e-3]))
    draw.with_gradients(rng, differentiable_tensors(call))
    return call


def _loss_rule(rng: Random) -> LossRule:
    return LossRule(
        rng.choice(KINDS),
        rng.choice(["centerness", "uniform"]),
        rng.choice(["positives", "per_image"]),
        rng.choice([0.25, -1, 0.6]),
        rng.choice([2.0, 0, 1.5, 0.4]),
        rng.choice([1e-7, 1e-3]),
    )


def _distances(rng: Random, shape: tuple[int, ...], kind: torch.dtype) -> Tensor:
    """Multiples of 1/4, so that decoding rounds nothing in any dtype that is not a half."""
    values = (torch.rand(shape, dtype=torch.float64) * rng.choice([3, 12, 60])).mul(4).round() / 4
    values = draw.sprinkled(rng, values, (draw.NAN, draw.INF, -draw.INF, -0.0, 0.0, -1.0, 1e9))
    return draw.laid_out(rng, values.to(kind))


def _coarse_logits(rng: Random, shape: tuple[int, ...], kind: torch.dtype) -> Tensor:
    """Few values, so that scores are equal or well apart."""
    values = torch.randn(shape, dtype=torch.float64).mul(rng.choice([4, 12])).round() / 4 - 1
    values = draw.sprinkled(rng, values, (draw.NAN, draw.INF, -draw.INF, -0.0, 0.0))
    return draw.laid_out(rng, values.to(kind))


def postprocess(rng: Random) -> Call:
    grids = sizes(rng, 6)
    batch, classes = _batch_and_classes(rng, grids)
    kinds = [draw.dtype(rng) for _ in range(3)]
    arguments: dict[str, Any] = {
        "cls_logits": [_coarse_logits(rng, (batch, classes, h, w), kinds[0]) for h, w in grids],
        "ltrb": [_distances(rng, (batch, 4, h, w), kinds[1]) for h, w in grids],
        "centerness": [_coarse_logits(rng, (batch, 1, h, w), kinds[2]) for h, w in grids],
        "image_sizes": _image_sizes(rng, batch),
        "levels": levels(rng, grids),
    }
    options = {
        "original_sizes": _image_sizes(rng, batch),
        "classes": draw.laid_out(rng, torch.rand(classes) < 0.7),
        "rule": rng.choice([*POSTPROCESS_RULES, _postprocess_rule(rng), _postprocess_rule(rng)]),
        "normalized": draw.often(rng, 0.5),
        "location_offset": rng.choice([0.5, 0, -1.0]),
    }
    arguments.update({name: value for name, value in options.items() if draw.often(rng, 0.5)})
    return Call("postprocess", arguments)


def _image_sizes(rng: Random, batch: int) -> Tensor:
    kind = rng.choice([torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8])
    return draw.laid_out(rng, torch.randint(0, 128, (batch, 2)).to(kind))


def _postprocess_rule(rng: Random) -> PostprocessRule:
    return PostprocessRule(
        threshold_on=rng.choice(["class", "score"]),
        rank_by=rng.choice(["class", "score"]),
        score=rng.choice(["sqrt", "product"]),
        score_threshold=rng.choice([0.05, 0.3, 0, -1.0, 1.0]),
        candidates_per_level=rng.choice([0, 1, 7, 30, 100, 2**40]),
        iou_threshold=rng.choice([0.0, 0.5, 0.6, 1]),
        max_detections=rng.choice([0, 1, 5, 100]),
        clip=rng.choice(["before_nms", "after_nms"]),
        drop_empty=draw.often(rng, 0.5),
        class_agnostic=draw.often(rng, 0.5),
        max_detections_per_class=rng.choice([None, 0, 1, 3]),
    )
