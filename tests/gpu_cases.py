"""Every op on small inputs, for what only a GPU can show: graph capture, sanitizers, no sync.

`python -m tests.gpu_cases` compares each with the reference once: what compute-sanitizer runs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import fcos_ops

SIZES = [(25, 37), (13, 19), (7, 10)]
CLASSES, BATCH, DETECTIONS = 20, 2, 30
RULE = fcos_ops.ASSIGNMENT_RULES["improved"]._replace(
    ranges=((-1.0, 64.0), (64.0, 128.0), (128.0, 1e8))
)
LEVELS = fcos_ops.pyramid_levels(SIZES, strides=(8, 16, 32), rule=RULE)
LOCATIONS = sum(height * width for height, width in SIZES)


class GpuCase(NamedTuple):
    """make(seed) gives inputs of always the same shapes; run(module, *inputs) calls the op of
    fcos_ops or fcos_ops.reference. exact: every device must give the same bits."""

    make: Callable[[int], tuple[Any, ...]]
    run: Callable[..., Any]
    exact: bool


def _boxes(seed: int, count: int = 200) -> Tensor:
    torch.manual_seed(seed)
    corners = torch.rand(count, 2) * 200
    return torch.cat([corners, corners + torch.rand(count, 2) * 100], 1)


def _offsets(count: int = 200) -> Tensor:
    return torch.tensor([0, count // 3, count])


def _focal_inputs(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(seed)
    labels = torch.randint(-2, CLASSES, (BATCH, LOCATIONS))
    return torch.randn(BATCH, LOCATIONS, CLASSES) * 3, labels, torch.tensor(7)


def _heads(seed: int) -> tuple[Any, ...]:
    torch.manual_seed(seed)
    cls = [torch.randn(BATCH, CLASSES, h, w) - 1 for h, w in SIZES]
    ltrb = [torch.rand(BATCH, 4, h, w) * 4 for h, w in SIZES]
    centerness = [torch.randn(BATCH, 1, h, w) for h, w in SIZES]
    return cls, ltrb, centerness, torch.tensor([[200, 290], [150, 296]])


def _with_gradient(loss: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    value = loss(x)
    return value.detach(), torch.autograd.grad(value, x)[0]


def _focal(ops: Any, logits: Tensor, labels: Tensor, count: Tensor) -> Any:
    return _with_gradient(lambda x: ops.sigmoid_focal_loss(x, labels, normalizer=count), logits)


def _assignment(ops: Any, *boxes: Tensor) -> Any:
    targets = ops.assign_targets(LEVELS, *boxes, rule=RULE)
    return targets.labels, targets.ltrb, targets.matched, targets.num_pos


def _iou(ops: Any, pred: Tensor, target: Tensor) -> Any:
    return _with_gradient(lambda x: ops.iou_loss(x, target), pred)


def _centerness(ops: Any, logits: Tensor, target: Tensor, labels: Tensor) -> Any:
    return _with_gradient(lambda x: ops.centerness_loss(x, target, labels=labels), logits)


def _fcos_inputs(seed: int) -> tuple[Any, ...]:
    labels = torch.arange(200) % CLASSES
    return *_heads(seed)[:3], _boxes(seed), labels, _offsets()


def _fcos(ops: Any, *inputs: Any) -> Any:
    heads = [[x.detach().requires_grad_() for x in head] for head in inputs[:3]]
    losses = ops.fcos_loss(*heads, *inputs[3:], levels=LEVELS, rule=RULE)
    total = losses[0] + 2 * losses[1] + 3 * losses[2]
    gradients = torch.autograd.grad(total, [x for head in heads for x in head])
    return [loss.detach() for loss in losses], gradients


def _group_norm_inputs(seed: int) -> tuple[Any, ...]:
    torch.manual_seed(seed)
    maps = [torch.randn(BATCH, 64, h, w).to(memory_format=torch.channels_last) for h, w in SIZES]
    return maps, torch.rand(64) + 0.5, torch.randn(64)


def _group_norm(ops: Any, maps: list[Tensor], weight: Tensor, bias: Tensor) -> Any:
    leaves = [x.detach().requires_grad_() for x in (*maps, weight, bias)]
    results = ops.group_norm(leaves[:-2], *leaves[-2:], groups=8, activation="relu")
    gradients = torch.autograd.grad(results, leaves, [torch.ones_like(x) for x in results])
    return [x.detach() for x in results], gradients


def _nms_padded(ops: Any, boxes: Tensor, scores: Tensor, offsets: Tensor) -> Any:
    limits = {"iou_threshold": 0.5, "score_threshold": 0.1, "max_detections": DETECTIONS}
    return ops.nms_padded(boxes, scores, None, offsets, **limits)


CASES = {
    "sigmoid_focal_loss": GpuCase(_focal_inputs, _focal, False),
    "assign_targets": GpuCase(
        lambda seed: (_boxes(seed), torch.randint(0, CLASSES, (200,)), _offsets()),
        _assignment,
        True,
    ),
    "iou_loss": GpuCase(lambda seed: (_boxes(seed), _boxes(seed + 100)), _iou, False),
    "centerness_target": GpuCase(
        lambda seed: (_boxes(seed),), lambda ops, ltrb: ops.centerness_target(ltrb), False
    ),
    "centerness_loss": GpuCase(
        lambda seed: (
            _boxes(seed)[:, 0] / 50,
            _boxes(seed)[:, 1] / 300,
            torch.arange(200) % 3 - 1,
        ),
        _centerness,
        False,
    ),
    "fcos_loss": GpuCase(_fcos_inputs, _fcos, False),
    "group_norm": GpuCase(_group_norm_inputs, _group_norm, False),
    "nms_padded": GpuCase(
        lambda seed: (_boxes(seed), torch.rand(200), _offsets()), _nms_padded, True
    ),
    "postprocess": GpuCase(
        _heads, lambda ops, *inputs: ops.postprocess(*inputs, levels=LEVELS), False
    ),
}


def flatten(value: Any) -> list[Tensor]:
    """The tensors in nested tuples and lists."""
    if isinstance(value, Tensor):
        return [value]
    return [tensor for item in value for tensor in flatten(item)]


def assert_agree(case: GpuCase, actual: Any, expected: Any) -> None:
    for ours, theirs in zip(flatten(actual), flatten(expected), strict=True):
        if case.exact:
            assert torch.equal(ours, theirs)
        else:
            # By norm, as gradients are small numbers. The reference sums float32 in another order;
            # the op tests hold the tight bounds.
            assert (ours - theirs).double().norm() <= 1e-4 * theirs.double().norm()


def main() -> None:
    for name, case in CASES.items():
        inputs = case.make(0)
        assert_agree(case, case.run(fcos_ops, *inputs), case.run(fcos_ops.reference, *inputs))
        print(f"{name}: agrees")
    boxes, scores = _boxes(0), torch.rand(200)
    assert torch.equal(fcos_ops.nms(boxes, scores, 0.5), fcos_ops.reference.nms(boxes, scores, 0.5))
    print("nms: agrees")


if __name__ == "__main__":
    torch.set_default_device("cuda")
    main()
