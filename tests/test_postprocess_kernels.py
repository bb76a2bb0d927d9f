"""postprocess at the sizes that its kernels cut at."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fcos_ops import reference
from tests.common import DTYPES
from tests.inputs.postprocess import (
    ALL,
    LAYOUTS,
    SIZES,
    assert_near,
    detect,
    image_sizes,
    levels_of,
    make_heads,
    reference_of,
    to,
)

EDGES = (1, 63, 64, 65, 512, 513, 520)  # locations of a level, round the tiles of a GPU
DENSE = ALL._replace(iou_threshold=0.5, max_detections=200)


@pytest.mark.every_device
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("classes", [1, 40, 129, 1203])
def test_sizes_round_tiles_and_vectors(classes: int, channels_last: bool) -> None:
    for locations in EDGES if classes < 100 else (1, 65):
        for dtype in (torch.float32, torch.float64) if classes == 40 else (torch.float32,):
            heads = to(make_heads(1, classes, [(1, locations)], bias=-3.0), dtype)
            if channels_last:
                heads = to(heads, memory_format=torch.channels_last)
            tolerance = 1e-6 if dtype == torch.float32 else 1e-12
            assert_near(detect(heads, "mmdet"), reference_of(heads, "mmdet"), tolerance)


@pytest.mark.every_device
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_strides_and_vectors(layout: Callable[[Tensor], Tensor]) -> None:
    """Sizes that can be read in vectors where the strides allow it, and such that never can."""
    for classes, size in ((16, (8, 40)), (5, (7, 9))):
        for dtype in (torch.float32, torch.float16):
            heads = to(make_heads(2, classes, [size], bias=-2.0), dtype)
            changed = [[layout(t) for t in head] for head in heads]
            found = detect((changed[0], changed[1], changed[2]), "improved")
            assert_near(found, reference_of(to(heads, torch.float32), "improved"), 1e-6)


@pytest.mark.every_device
@pytest.mark.parametrize("rank_by", ["score", "class"])
@pytest.mark.parametrize("k", [0, 1, 100, 2048, 3000, 2**62])
def test_number_of_places(k: int, rank_by: str) -> None:
    """More places than are sorted at once, and more than the level has candidates."""
    heads = to(make_heads(1, 20, [(11, 20), (3, 4)]), torch.float32)
    for limit, clip in ((0, "before_nms"), (1, "after_nms"), (700, "after_nms")):
        rule = DENSE._replace(
            candidates_per_level=k, rank_by=rank_by, max_detections=limit, clip=clip
        )
        rule = rule._replace(drop_empty=limit > 1)
        assert_near(detect(heads, rule), reference_of(heads, rule), 1e-6)


@pytest.mark.every_device
@pytest.mark.parametrize("rank_by", ["score", "class"])
@pytest.mark.parametrize("order", ["random", "rising", "falling", "tied", "equal"])
def test_far_more_candidates_than_places(order: str, rank_by: str) -> None:
    """Everything is a candidate: more than a GPU keeps before it looks for the best of them."""
    size = (23, 35) if order in ("random", "tied") else (24, 32)  # many small tiles, or two
    heads = to(make_heads(1, 48, [size], bias=0.0), torch.float32)
    logits, centerness = heads[0][0], heads[2][0]
    if order == "tied":
        logits, centerness = logits.round(), centerness.round()
    elif order == "equal":
        logits, centerness = torch.zeros_like(logits), torch.zeros_like(centerness)
    elif order != "random":
        ordered = logits.flatten().sort(descending=order == "falling").values
        logits = ordered.view(logits.shape)
    heads = [logits], heads[1], [centerness]
    if order == "falling":
        heads = to(heads, memory_format=torch.channels_last)
    rule = DENSE._replace(rank_by=rank_by, candidates_per_level=1500)
    levels = levels_of(heads)
    expected = reference.postprocess(*heads, image_sizes(heads), levels=levels, rule=rule)
    if order == "random":
        expected = reference_of(heads, rule)
    assert_near(detect(heads, rule), expected, 1e-6)


@pytest.mark.every_device
def test_nothing_is_found() -> None:
    for dtype in DTYPES:
        heads = to(make_heads(2, 5, SIZES[1:], bias=-60.0), dtype)
        for centerness in (heads[2], [torch.full_like(t, math.nan) for t in heads[2]]):
            found = detect((*heads[:2], centerness), "improved")
            assert found.count.tolist() == [0, 0]
            assert not found.boxes.any() and not found.scores.any() and found.labels.eq(-1).all()
