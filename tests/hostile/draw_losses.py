"""Valid calls of the losses that take plain tensors, and of `group_norm`."""

from random import Random

import torch

from tests.hostile import draw
from tests.hostile.calls import Call, differentiable_tensors

ROWS = 300  # of a usual call


def _finished(rng: Random, call: Call) -> Call:
    draw.with_gradients(rng, differentiable_tensors(call))
    return call


def focal(rng: Random) -> Call:
    classes = 0 if draw.often(rng, 0.03) else rng.choice(draw.CLASSES)
    rows = draw.shape(rng, max(ROWS // max(classes // 5, 1), 4))
    kind = draw.dtype(rng)
    shape = (*rows, classes)
    arguments = {"logits": draw.logits(rng, shape, kind)}
    if draw.often(rng, 0.35):
        arguments["labels"] = draw.unit(rng, shape, draw.dtype(rng))
    else:
        labels = torch.randint(-2, max(classes, 1), rows)
        labels = torch.where(torch.rand(rows) < 0.5, -1, labels)
        if draw.often(rng, 0.1):
            wild = torch.tensor([-3, classes, 2**31 - 1, -(2**31)])[torch.randint(0, 4, rows)]
            labels = torch.where(torch.rand(rows) < 0.1, wild, labels)
        arguments["labels"] = draw.laid_out(rng, labels.to(rng.choice(draw.INTEGERS)))
    options = {
        "alpha": rng.choice([0.25, 0.5, 1, 0.0, -1.0, rng.random()]),
        "gamma": rng.choice([0, 2.0, 1.0, 1.5, 0.3, 3.3, 7, rng.random() * 5]),
        "weight": draw.weight(rng, rows),
    }
    if draw.often(rng, 0.02):
        options["gamma"] = rng.choice([1e18, 3e38])
    arguments.update({name: value for name, value in options.items() if draw.often(rng, 0.7)})
    draw.normalizer(rng, arguments, 1.0)
    return _finished(rng, Call("sigmoid_focal_loss", arguments))


def _boxes(rng: Random, rows: tuple[int, ...], ltrb: bool) -> torch.Tensor:
    first = torch.rand(*rows, 2, dtype=torch.float64) * 100 - (0 if ltrb else 50)
    size = torch.rand(*rows, 2, dtype=torch.float64) * 60 - rng.choice([0, 0, 10])
    boxes = torch.cat([first, size if ltrb else first + size], -1)
    return boxes.round() if draw.often(rng, 0.3) else boxes


def iou(rng: Random) -> Call:
    rows = draw.shape(rng, ROWS * 2)
    box_format = rng.choice(["xyxy", "ltrb"])
    pred = _boxes(rng, rows, box_format == "ltrb")
    target = _boxes(rng, rows, box_format == "ltrb")
    if draw.often(rng, 0.5):  # boxes that overlap
        target = pred + torch.randn(pred.shape, dtype=torch.float64) * rng.choice([0, 1, 10])
    arguments = {
        name: draw.laid_out(rng, draw.sprinkled(rng, boxes, draw.LENGTHS).to(draw.dtype(rng)))
        for name, boxes in (("pred", pred), ("target", target))
    }
    options = {
        "kind": rng.choice(["iou", "linear_iou", "giou", "diou", "ciou"]),
        "weight": draw.weight(rng, rows),
        "eps": rng.choice([1e-7, 1e-7, 1e-3, 1, 1.2e-38, 3e38]),
    }
    arguments.update({name: value for name, value in options.items() if draw.often(rng, 0.7)})
    arguments["box_format"] = box_format
    draw.normalizer(rng, arguments, 1e-6)
    return _finished(rng, Call("iou_loss", arguments))


def centerness_target(rng: Random) -> Call:
    rows = draw.shape(rng, ROWS * 2)
    sides = torch.rand(*rows, 4, dtype=torch.float64) * 100 - rng.choice([0, 5])
    sides = draw.sprinkled(rng, sides, draw.LENGTHS).to(draw.dtype(rng))
    return Call("centerness_target", {"ltrb": draw.laid_out(rng, sides)})


def centerness(rng: Random) -> Call:
    rows = draw.shape(rng, ROWS * 3)
    arguments = {
        "logits": draw.logits(rng, rows, draw.dtype(rng)),
        "target": draw.unit(rng, rows, draw.dtype(rng)),
    }
    if draw.often(rng, 0.05):  # many equal terms: their roundings add up
        rows = (80_000,)
        arguments = {n: torch.rand(()).expand(rows) for n in ("logits", "target")}
    which = rng.choice(["mask", "labels", "neither"])
    if which == "mask":
        arguments["mask"] = draw.laid_out(rng, torch.rand(rows) < rng.random())
    if which == "labels":
        labels = torch.randint(-2, 3, rows, dtype=rng.choice(draw.INTEGERS))
        arguments["labels"] = draw.laid_out(rng, labels)
    draw.normalizer(rng, arguments, 1.0)
    return _finished(rng, Call("centerness_loss", arguments))


def group_norm(rng: Random) -> Call:
    groups = rng.choice([1, 1, 2, 3, 4, 8])
    batch, channels = rng.choice([0, 1, 2, 3]), groups * rng.choice([1, 2, 4, 5, 8])
    kind = draw.dtype(rng)
    maps = []
    for _ in range(rng.choice([1, 1, 2, 3])):
        # The gradient of a group of one element is 0, but for a rounding that no bar covers.
        shape = (batch, channels, rng.choice([0, 1, 3, 7]), rng.choice([2, 3, 5, 12]))
        values = torch.randn(shape, dtype=torch.float64) * rng.choice([1, 4]) + rng.choice([0, 5])
        maps.append(draw.laid_out(rng, draw.sprinkled(rng, values, (draw.NAN, draw.INF)).to(kind)))
    arguments = {
        "maps": maps[0] if len(maps) == 1 and draw.often(rng, 0.5) else maps,
        "weight": draw.laid_out(rng, (torch.rand(channels) + 0.5).to(draw.dtype(rng))),
        "bias": draw.laid_out(rng, torch.randn(channels).to(draw.dtype(rng))),
        "groups": groups,
        "eps": rng.choice([1e-5, 1e-5, 1e-3, 1]),
    }
    if draw.often(rng, 0.3):
        # No result may lie at 0, where the gradient of a ReLU jumps.
        arguments["bias"] = draw.laid_out(rng, torch.full((channels,), 99.0).to(draw.dtype(rng)))
        arguments["activation"] = "relu"
    return _finished(rng, Call("group_norm", arguments))
