"""nms on uniform and on clustered boxes, batched_nms over 80 classes, at several sizes."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

import fcos_ops
from benchmarks import problem
from benchmarks.contenders import torchvision_ops
from benchmarks.harness import OURS, Case
from fcos_ops import reference

THRESHOLD = 0.6


def uniform(count: int) -> tuple[Tensor, Tensor]:
    """Boxes anywhere, which rarely suppress each other: the worst case of greedy suppression."""
    boxes, _, _ = problem.objects(1, count)
    return boxes, torch.rand(count, generator=problem.generator(1))


def clustered(count: int, per_object: int = 25) -> tuple[Tensor, Tensor]:
    """What a detector gives: many jittered boxes around each object."""
    objects, _, _ = problem.objects(1, count // per_object)
    g = problem.generator(1)
    sides = (objects[:, 2:] - objects[:, :2]).repeat(1, 2).repeat_interleave(per_object, 0)
    jitter = torch.randn(sides.shape, generator=g) * 0.05 * sides
    boxes = objects.repeat_interleave(per_object, 0) + jitter
    return boxes, torch.rand(len(boxes), generator=g)


def agree(ours: Tensor, theirs: Tensor) -> None:
    """Equal but for pairs whose IoU is within rounding of the threshold, which are rare."""
    missing = set(ours.tolist()) ^ set(theirs.tolist())
    assert len(missing) <= 2 + len(ours) // 1000, f"{len(missing)} indices differ"


def cases() -> Iterator[Case]:
    """All wait for the device, as the number of boxes that are kept is the size of a tensor."""
    for name, make, target in (("uniform", uniform, 25.0), ("clustered", clustered, 7.0)):
        for count in (100, 1_000, 5_000, 20_000):
            boxes, scores = make(count)
            contenders = {OURS: run(fcos_ops.nms, boxes, scores)}
            if count <= 5_000:
                contenders["eager"] = run(reference.nms, boxes, scores)
            if torchvision_ops is not None:
                contenders["torchvision"] = run(torchvision_ops.nms, boxes, scores)
            asked = target if count == 5_000 else None
            case = f"{name}, {count} boxes, IoU {THRESHOLD}"
            yield Case("nms", case, contenders, agree, asked, waits=frozenset(contenders))
    for count in (5_000, 20_000):
        boxes, scores = clustered(count)
        labels = torch.randint(0, 80, (count,), generator=problem.generator(2))
        contenders = {OURS: run(fcos_ops.batched_nms, boxes, scores, labels)}
        if count <= 5_000:
            contenders["eager"] = run(reference.batched_nms, boxes, scores, labels)
        if torchvision_ops is not None:
            contenders["torchvision"] = run(torchvision_ops.batched_nms, boxes, scores, labels)
        asked = 15.0 if count == 5_000 else None
        case = f"{count} boxes, 80 classes"
        yield Case("batched_nms", case, contenders, agree, asked, waits=frozenset(contenders))


def run(function: Callable[..., Any], *inputs: Tensor) -> Callable[[], Any]:
    return lambda: function(*inputs, THRESHOLD)
