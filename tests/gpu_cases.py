"""Every op, for what only a GPU can show: graph capture, sanitizers, no sync. CASES are small and
of float32; BFLOAT16 are the same in half precision; LARGE have more tiles than a GPU takes at once.

`python -m tests.gpu_cases [NAME...]` compares each on the GPU with the reference on the CPU, which
a sanitizer does not slow down: what compute-sanitizer runs. No name is all of them.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import fcos_ops
from fcos_ops import Level

SIZES = [(25, 37), (13, 19), (7, 10)]
CLASSES, BATCH, DETECTIONS = 20, 2, 30
RULE = fcos_ops.ASSIGNMENT_RULES["improved"]._replace(
    ranges=((-1.0, 64.0), (64.0, 128.0), (128.0, 1e8))
)
LEVELS = fcos_ops.pyramid_levels(SIZES, strides=(8, 16, 32), rule=RULE)


class GpuCase(NamedTuple):
    """make(seed) gives inputs of always the same shapes; run(module, *inputs) calls the op of
    fcos_ops or fcos_ops.reference. exact: every device must give the same bits."""

    make: Callable[[int], tuple[Any, ...]]
    run: Callable[..., Any]
    exact: bool


class Shape(NamedTuple):
    """What the inputs of a set of cases have in common. boxes: of all images; nms_boxes: those of
    NMS; elements: boxes of iou_loss, and what the centerness takes. bias: of class logits."""

    levels: tuple[Level, ...] = LEVELS
    classes: int = CLASSES
    batch: int = BATCH
    boxes: int = 200
    nms_boxes: int = 200
    elements: int = 200
    bias: float = -1.0

    @property
    def locations(self) -> int:
        return sum(level.height * level.width for level in self.levels)


# An H200 has 132 multiprocessors with 2,048 threads each: 270,000 at once.
LARGE_SHAPE = Shape(
    levels=fcos_ops.pyramid_levels(
        [(256, 320), (128, 160), (64, 80)], strides=(8, 16, 32), rule=RULE
    ),
    classes=8,
    batch=4,
    boxes=100,
    nms_boxes=3000,
    elements=600_000,
    bias=-6.0,
)


def _boxes(seed: int, count: int, extent: float = 200.0) -> Tensor:
    torch.manual_seed(seed)
    corners = torch.rand(count, 2) * extent
    return torch.cat([corners, corners + torch.rand(count, 2) * 100], 1)


def _offsets(count: int, batch: int) -> Tensor:
    """The images share the boxes unevenly."""
    return torch.tensor([0, *(count * i // (batch + 1) for i in range(1, batch)), count])


def _heads(seed: int, shape: Shape) -> tuple[Any, ...]:
    torch.manual_seed(seed)

    def maps(channels: int) -> list[Tensor]:
        return [torch.randn(shape.batch, channels, v.height, v.width) for v in shape.levels]

    cls = [x + shape.bias for x in maps(shape.classes)]
    return cls, [x.abs() * 2 for x in maps(4)], maps(1)


def _image_sizes(shape: Shape) -> Tensor:
    """The last image is smaller than its maps."""
    level = shape.levels[0]
    sizes = torch.tensor([[level.height * 8, level.width * 8]] * shape.batch)
    sizes[-1] = sizes[-1] * 3 // 4
    return sizes


def _with_gradient(loss: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    value = loss(x)
    return value.detach(), torch.autograd.grad(value, x)[0]


def _focal(ops: Any, logits: Tensor, labels: Tensor, count: Tensor) -> Any:
    return _with_gradient(lambda x: ops.sigmoid_focal_loss(x, labels, normalizer=count), logits)


def _iou(ops: Any, pred: Tensor, target: Tensor) -> Any:
    return _with_gradient(lambda x: ops.iou_loss(x, target), pred)


def _centerness(ops: Any, logits: Tensor, target: Tensor, labels: Tensor) -> Any:
    return _with_gradient(lambda x: ops.centerness_loss(x, target, labels=labels), logits)


def _group_norm(ops: Any, maps: list[Tensor], weight: Tensor, bias: Tensor) -> Any:
    leaves = [x.detach().requires_grad_() for x in (*maps, weight, bias)]
    results = ops.group_norm(leaves[:-2], *leaves[-2:], groups=8, activation="relu")
    gradients = torch.autograd.grad(results, leaves, [torch.ones_like(x) for x in results])
    return [x.detach() for x in results], gradients


def _nms_padded(ops: Any, boxes: Tensor, scores: Tensor, offsets: Tensor) -> Any:
    limits = {"iou_threshold": 0.5, "score_threshold": 0.1, "max_detections": DETECTIONS}
    return ops.nms_padded(boxes, scores, None, offsets, **limits)


def cases(shape: Shape) -> dict[str, GpuCase]:
    """A case an op. Boxes lie where the finest level has locations."""
    extent = shape.levels[0].height * 8.0

    def truth(seed: int) -> tuple[Tensor, Tensor, Tensor]:
        labels = torch.arange(shape.boxes) % shape.classes
        return _boxes(seed, shape.boxes, extent), labels, _offsets(shape.boxes, shape.batch)

    def ranked(seed: int) -> tuple[Tensor, Tensor, Tensor]:
        boxes, count = _boxes(seed, shape.nms_boxes, extent), shape.nms_boxes
        return boxes, torch.rand(count), _offsets(count, shape.batch)

    def pairs(seed: int) -> tuple[Tensor, Tensor]:
        return _boxes(seed, shape.elements), _boxes(seed + 100, shape.elements)

    def focal(seed: int) -> tuple[Tensor, Tensor, Tensor]:
        torch.manual_seed(seed)
        labels = torch.randint(-2, shape.classes, (shape.batch, shape.locations))
        logits = torch.randn(shape.batch, shape.locations, shape.classes) * 3
        return logits, labels, torch.tensor(7)

    def centerness(seed: int) -> tuple[Tensor, Tensor, Tensor]:
        values = _boxes(seed, shape.elements)
        return values[:, 0] / 50, values[:, 1] / 300, torch.arange(shape.elements) % 3 - 1

    def normalized(seed: int) -> tuple[Any, ...]:
        torch.manual_seed(seed)
        sizes = [(shape.batch, 64, level.height, level.width) for level in shape.levels]
        maps = [torch.randn(size).to(memory_format=torch.channels_last) for size in sizes]
        maps[1] = maps[1].contiguous()  # in planes, between levels by rows
        return maps, torch.rand(64) + 0.5, torch.randn(64)

    def assign(ops: Any, *truth: Tensor) -> Any:
        targets = ops.assign_targets(shape.levels, *truth, rule=RULE)
        return targets.labels, targets.ltrb, targets.matched, targets.num_pos

    def fcos(ops: Any, *inputs: Any) -> Any:
        heads = [[x.detach().requires_grad_() for x in head] for head in inputs[:3]]
        losses = ops.fcos_loss(*heads, *inputs[3:], levels=shape.levels, rule=RULE)
        total = losses[0] + 2 * losses[1] + 3 * losses[2]
        gradients = torch.autograd.grad(total, [x for head in heads for x in head])
        return [loss.detach() for loss in losses], gradients

    def postprocess(ops: Any, *inputs: Any) -> Any:
        return ops.postprocess(*inputs, levels=shape.levels)

    def detected(seed: int) -> tuple[Any, ...]:
        return *_heads(seed, shape), _image_sizes(shape)

    return {
        "sigmoid_focal_loss": GpuCase(focal, _focal, False),
        "assign_targets": GpuCase(truth, assign, True),
        "iou_loss": GpuCase(pairs, _iou, False),
        "centerness_target": GpuCase(
            lambda seed: pairs(seed)[:1], lambda ops, ltrb: ops.centerness_target(ltrb), False
        ),
        "centerness_loss": GpuCase(centerness, _centerness, False),
        "fcos_loss": GpuCase(lambda seed: (*_heads(seed, shape), *truth(seed)), fcos, False),
        "group_norm": GpuCase(normalized, _group_norm, False),
        "nms_padded": GpuCase(ranked, _nms_padded, True),
        "postprocess": GpuCase(detected, postprocess, False),
    }


def convert(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Nested tuples and lists with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    return type(value)(convert(item, change) for item in value)


def _half(case: GpuCase) -> GpuCase:
    def make(seed: int) -> tuple[Any, ...]:
        return convert(case.make(seed), lambda x: x.bfloat16() if x.is_floating_point() else x)

    return case._replace(make=make)


CASES = cases(Shape())
BFLOAT16 = {f"{name}, bfloat16": _half(case) for name, case in CASES.items()}
LARGE = {f"{name}, large": case for name, case in cases(LARGE_SHAPE).items()}
EVERY_CASE = {**CASES, **BFLOAT16, **LARGE}


def flatten(value: Any) -> list[Tensor]:
    """The tensors in nested tuples and lists."""
    if isinstance(value, Tensor):
        return [value]
    return [tensor for item in value for tensor in flatten(item)]


def assert_agree(case: GpuCase, actual: Any, expected: Any) -> None:
    for ours, theirs in zip(flatten(actual), flatten(expected), strict=True):
        assert ours.dtype == theirs.dtype
        if case.exact:
            assert torch.equal(ours, theirs)
        else:
            # By norm, as gradients are small numbers. The reference sums float32 in another order;
            # bfloat16 is rounded by both. The op tests hold the tight bounds.
            tolerance = 1e-2 if theirs.dtype == torch.bfloat16 else 1e-4
            assert (ours - theirs).double().norm() <= tolerance * theirs.double().norm()


def main(names: list[str]) -> None:
    device = torch.device("cuda")
    for name in names or EVERY_CASE:
        case = EVERY_CASE[name]
        inputs = case.make(0)
        found = case.run(fcos_ops, *convert(inputs, lambda x: x.to(device)))
        expected = case.run(fcos_ops.reference, *inputs)
        assert_agree(case, convert(flatten(found), Tensor.cpu), flatten(expected))
        print(f"{name}: agrees", flush=True)
    boxes, scores = _boxes(0, 200), torch.rand(200)
    kept = fcos_ops.nms(boxes.to(device), scores.to(device), 0.5)
    assert torch.equal(kept.cpu(), fcos_ops.reference.nms(boxes, scores, 0.5))
    print("nms: agrees")


if __name__ == "__main__":
    main(sys.argv[1:])
