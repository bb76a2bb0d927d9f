"""fcos_loss, forward + backward, on the canonical problem: assignment and the three losses, from
the maps of the head as convolutions leave them to their gradients."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

import fcos_ops
from benchmarks import problem
from benchmarks.contenders import compiled, torchvision_ops
from benchmarks.harness import OURS, Case
from fcos_ops import reference
from fcos_ops.reference.fcos_loss import losses_of_targets

Maps = Sequence[Tensor]
Losses = Callable[[Maps, Maps, Maps], Sequence[Tensor]]


def head_outputs(batch: int) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Maps early in training, NCHW."""
    g = problem.generator()

    def maps(channels: int) -> list[Tensor]:
        return [torch.randn(batch, channels, h, w, generator=g) for h, w in problem.SIZES]

    return [x - 4.6 for x in maps(problem.CLASSES)], [x.abs() * 3 for x in maps(4)], maps(1)


def flatten(maps: Maps) -> Tensor:
    """[B, K, H, W] maps to [B, N, K]: what every framework does first."""
    return torch.cat([m.permute(0, 2, 3, 1).flatten(1, 2) for m in maps], dim=1)


def composed(ops: Any, levels: Any, truth: Any) -> Losses:
    """The losses from separate ops."""

    def losses(cls_logits: Maps, ltrb: Maps, centerness: Maps) -> tuple[Tensor, ...]:
        targets = ops.assign_targets(levels, *truth)
        return (
            ops.sigmoid_focal_loss(flatten(cls_logits), targets.labels, normalizer=targets.num_pos),
            ops.iou_loss(
                flatten(ltrb),
                targets.ltrb,
                box_format="ltrb",
                weight=targets.centerness,
                normalizer=targets.centerness_sum,
            ),
            ops.centerness_loss(
                flatten(centerness).squeeze(-1),
                targets.centerness,
                labels=targets.labels,
                normalizer=targets.num_pos,
            ),
        )

    return losses


def compiled_losses(levels: Any, truth: Any) -> Losses:
    """torch.compile of the reference losses; assignment, which it cannot take, runs in ours."""
    loss_rule = fcos_ops.LOSS_RULES["improved"]
    function = compiled(
        lambda heads, targets: losses_of_targets(*heads, targets, loss_rule, None)[:3]
    )

    def losses(*heads: Maps) -> Sequence[Tensor]:
        return function(heads, fcos_ops.assign_targets(levels, *truth))

    return losses


def torchvision_losses(truth: tuple[Tensor, Tensor, Tensor]) -> Losses:
    """torchvision's own matching and losses, from the maps on."""
    from torchvision.models.detection import FCOS
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.image_list import ImageList

    class Backbone(torch.nn.Module):
        out_channels = 32

    sizes = tuple((s,) for s in problem.STRIDES)
    generator = AnchorGenerator(sizes, ((1.0,),) * len(sizes))
    model = FCOS(Backbone(), problem.CLASSES, anchor_generator=generator)
    boxes, labels, offsets = truth
    targets = [
        {"boxes": boxes[a:b], "labels": labels[a:b]}
        for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    ]
    batch = len(targets)
    height, width = problem.IMAGE_SIZE
    images = ImageList(torch.empty(batch, 3, height, width), [(height, width)] * batch)

    def losses(cls_logits: Maps, ltrb: Maps, centerness: Maps) -> tuple[Tensor, ...]:
        outputs = {
            "cls_logits": flatten(cls_logits),
            "bbox_regression": flatten(ltrb),
            "bbox_ctrness": flatten(centerness),
        }
        anchors = generator(images, list(cls_logits))
        counts = [m.shape[2] * m.shape[3] for m in cls_logits]
        found = model.compute_loss(targets, outputs, anchors, counts)
        return tuple(found.values())

    return losses


def forward_backward(losses: Losses, heads: Sequence[Maps]) -> Callable[[], Any]:
    def run() -> Any:
        maps = [[m.detach().requires_grad_() for m in head] for head in heads]
        values = losses(*maps)
        leaves = [m for head in maps for m in head]
        gradients = torch.autograd.grad(values[0] + values[1] + values[2], leaves)
        return [v.detach() for v in values[:3]], gradients

    return run


def cases() -> Iterator[Case]:
    for batch, dtype in problem.variants():
        heads = [[m.to(dtype) for m in maps] for maps in head_outputs(batch)]
        name = problem.with_dtype(f"batch {batch}, 800x1344, 80 classes", dtype)
        plain = batch == problem.batch() and dtype == torch.float32
        for per_image in (50, 200) if plain else (50,):
            truth = problem.objects(batch, per_image)
            yield improved(heads, truth, f"{per_image} boxes an image, {name}")
            if plain and torchvision_ops is not None:
                yield torchvision(heads, truth, f"{per_image} boxes an image, {name}")
        if problem.on_gpu():
            last = [[m.contiguous(memory_format=torch.channels_last) for m in h] for h in heads]
            truth = problem.objects(batch, 50)
            yield improved(last, truth, f"50 boxes an image, {name}, channels_last")


def improved(heads: Sequence[Maps], truth: Any, name: str) -> Case:
    levels = problem.levels()
    contenders: dict[str, Losses] = {
        OURS: lambda *maps: fcos_ops.fcos_loss(*maps, *truth, levels=levels)[:3],
        "our ops": composed(fcos_ops, levels, truth),
        "eager": composed(reference, levels, truth),
        "torch.compile": compiled_losses(levels, truth),
    }
    runs = {name: forward_backward(losses, heads) for name, losses in contenders.items()}
    waits = frozenset({"eager"})  # for the offsets
    agree = agreement(heads)
    return Case("fcos_loss", f"improved, {name}", runs, agree, None, moved(heads), waits)


def torchvision(heads: Sequence[Maps], truth: Any, name: str) -> Case:
    levels = torchvision_levels()

    def ours(*maps: Maps) -> Sequence[Tensor]:
        return fcos_ops.fcos_loss(*maps, *truth, levels=levels, rule="torchvision")[:3]

    runs = {
        OURS: forward_backward(ours, heads),
        "torchvision": forward_backward(torchvision_losses(truth), heads),
    }
    waits = frozenset({"torchvision"})  # for the boxes of each image
    return Case(
        "fcos_loss", f"torchvision, {name}", runs, agreement(heads), 30.0, moved(heads), waits
    )


def agreement(heads: Sequence[Maps]) -> Callable[[Any, Any], None]:
    tolerance = 1e-5 + problem.rounding(heads[0][0].dtype)

    def agree(ours: Any, theirs: Any) -> None:
        for a, b in zip(ours[0], theirs[0], strict=True):
            # What torch.compile adds up in float32 is 4e-5 off; ours is within 1e-7 of float64.
            assert (a - b).abs() <= 1e-4 * b.abs(), (a, b)
        for a, b in zip(ours[1], theirs[1], strict=True):
            assert (a - b).norm() <= tolerance * b.norm()

    return agree


def moved(heads: Sequence[Maps]) -> int:
    """Bytes of the maps, which are read, and of their gradients."""
    return 2 * sum(m.numel() * m.element_size() for head in heads for m in head)


def torchvision_levels() -> tuple[fcos_ops.Level, ...]:
    return fcos_ops.pyramid_levels(problem.SIZES, image_size=problem.IMAGE_SIZE, rule="torchvision")
