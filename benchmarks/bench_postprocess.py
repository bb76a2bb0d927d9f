"""postprocess of 800x1344 images, preset torchvision, against reference and torchvision."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

import fcos_ops
from benchmarks import problem
from benchmarks.bench_fcos_loss import flatten
from benchmarks.contenders import torchvision_ops
from benchmarks.harness import OURS, Case
from fcos_ops import reference


def head_outputs(batch: int) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Logits around the prior with a few thousand strong ones, as a trained detector gives."""
    g = problem.generator()
    cls, ltrb, centerness = [], [], []
    for height, width in problem.SIZES:
        noise = torch.randn(batch, problem.CLASSES, height, width, generator=g)
        strong = torch.rand(noise.shape, generator=g) < 0.002
        cls.append(torch.where(strong, noise + 1.0, noise - 5.5))
        ltrb.append(torch.rand(batch, 4, height, width, generator=g) * 6)
        centerness.append(torch.randn(batch, 1, height, width, generator=g))
    return cls, ltrb, centerness


def agree(ours: Any, theirs: Any) -> None:
    """The same number of detections, give or take a pair at a threshold, and the same scores."""
    ours, theirs = comparable(ours), comparable(theirs)
    for (count, scores), (other_count, other_scores) in zip(ours, theirs, strict=True):
        assert abs(count - other_count) <= 1
        common = min(count, other_count)
        assert torch.allclose(scores[:common], other_scores[:common], atol=1e-3)


def comparable(detections: Any) -> list[tuple[int, Tensor]]:
    if isinstance(detections, list):  # torchvision's list of dictionaries
        return [(len(d["scores"]), d["scores"]) for d in detections]
    return [(int(n), s[: int(n)]) for n, s in zip(detections.count, detections.scores, strict=True)]


def torchvision_postprocess(outputs: Any, sizes: Tensor) -> dict[str, Callable[[], Any]]:
    """torchvision's own method, on the flattened outputs that it takes, and from the maps on."""
    from torchvision.models.detection import fcos_resnet50_fpn
    from torchvision.models.detection.image_list import ImageList

    model = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=problem.CLASSES)

    batch = len(sizes)
    height, width = problem.IMAGE_SIZE
    features = [torch.empty(batch, 1, h, w) for h, w in problem.SIZES]
    images = ImageList(torch.empty(batch, 3, height, width), [(height, width)] * batch)
    anchors = model.anchor_generator(images, features)
    counts = [h * w for h, w in problem.SIZES]
    per_level = [list(a.split(counts)) for a in anchors]
    shapes = [tuple(size) for size in sizes.tolist()]

    def flatten_outputs() -> dict[str, list[Tensor]]:
        """Each level as [B, H * W, K], through one tensor, as torchvision's model does."""
        names = ("cls_logits", "bbox_regression", "bbox_ctrness")
        levels = [list(flatten(maps).split(counts, dim=1)) for maps in outputs]
        return dict(zip(names, levels, strict=True))

    flat = flatten_outputs()

    def detections(heads: dict[str, list[Tensor]]) -> Any:
        return model.postprocess_detections(heads, per_level, shapes)

    return {
        "torchvision": lambda: detections(flat),
        "torchvision from maps": lambda: detections(flatten_outputs()),
    }


def cases() -> Iterator[Case]:
    for batch, dtype in problem.variants():
        outputs = [[x.to(dtype) for x in maps] for maps in head_outputs(batch)]
        last = [[x.contiguous(memory_format=torch.channels_last) for x in maps] for maps in outputs]
        yield case(outputs, "NCHW")
        yield case(last, "channels_last")


def case(outputs: Any, layout: str) -> Case:
    """torchvision's is left out in half precision, as it computes in that."""
    batch, dtype = len(outputs[0][0]), outputs[0][0].dtype
    sizes = torch.tensor([problem.IMAGE_SIZE] * batch)
    levels = fcos_ops.pyramid_levels(
        problem.SIZES, image_size=problem.IMAGE_SIZE, rule="torchvision"
    )

    def run(function: Callable[..., Any]) -> Callable[[], Any]:
        return lambda: function(
            *outputs, sizes, levels=levels, rule="torchvision", location_offset=0.0
        )

    contenders = {OURS: run(fcos_ops.postprocess), "eager": run(reference.postprocess)}
    if torchvision_ops is not None and dtype == torch.float32:
        contenders |= torchvision_postprocess(outputs, sizes)
    moved = sum(level.numel() * level.element_size() for level in outputs[0])
    name = problem.with_dtype(f"preset torchvision, batch {batch}, 800x1344, {layout}", dtype)
    waits = frozenset(contenders) - {OURS}  # for the positions of what they keep
    return Case("postprocess", name, contenders, agree, 25.0, moved, waits)
