"""postprocess against itself: memory layouts, dtypes, threads and batches that must not matter."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fcos_ops import POSTPROCESS_RULES
from fcos_ops.results import Detections
from tests.inputs.postprocess import (
    ALL,
    LAYOUTS,
    assert_equal,
    detect,
    image_sizes,
    make_heads,
    to,
)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("classes", [3, 45, 1100])
def test_memory_layout(classes: int, layout: Callable[[Tensor], Tensor]) -> None:
    sizes = ((9, 20), (3, 2), (1, 1)) if classes > 1000 else ((40, 60), (5, 3), (1, 1))
    for dtype in (torch.float32, torch.float16):
        heads = to(make_heads(2, classes, sizes, bias=-3.0), dtype)
        expected = detect(heads, "torchvision")
        changed = [[layout(t) for t in head] for head in heads]
        assert_equal(detect((changed[0], changed[1], changed[2]), "torchvision"), expected)
        mixed = (heads[0], changed[1], changed[2])
        assert_equal(detect(mixed, "torchvision"), expected)


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", POSTPROCESS_RULES)
def test_half_types_are_float32_of_fewer_bits(name: str, dtype: torch.dtype) -> None:
    half = to(make_heads(2, 25, bias=-2.0), dtype)
    special = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan, 6e-8, -6e-8], dtype=dtype)
    half[0][0].view(-1)[: 7 * 11 : 11] = special
    half[2][0].view(-1)[: 7 * 3 : 3] = special
    full = to(half, torch.float32)
    expected = detect(full, name)
    assert_equal(detect(half, name), expected)
    for heads in ((half[0], full[1], full[2]), (full[0], half[1], full[2])):
        assert_equal(detect(heads, name), expected)
    rule = POSTPROCESS_RULES[name]._replace(score_threshold=0.5)  # logits of 0 are at the threshold
    assert_equal(detect(half, rule), detect(full, rule))


@pytest.mark.every_device
def test_one_float64_head_makes_all_maths_float64() -> None:
    heads = to(make_heads(2, 5), torch.float32)
    expected = detect(to(heads, torch.float64), "improved")
    assert expected.boxes.dtype == torch.float64
    for i in range(3):
        mixed = list(heads)
        mixed[i] = [t.double() for t in heads[i]]
        assert_equal(detect((mixed[0], mixed[1], mixed[2]), "improved"), expected)


@pytest.mark.parametrize("bias", [-4.6, 3.0], ids=["sparse", "dense"])
@pytest.mark.parametrize("name", POSTPROCESS_RULES)
def test_threads_and_runs_agree(name: str, bias: float) -> None:
    """The finest level is large enough to be cut into bands, which one thread does not do."""
    heads = to(make_heads(2, 80, ((90, 70), (20, 30)), bias=bias), torch.float32)
    results = []
    for threads in (1, 2, 2, 3):
        torch.set_num_threads(threads)
        results.append(detect(heads, name))
    assert results[0].count.min() > 0
    for other in results[1:]:
        assert_equal(other, results[0])


def test_threads_take_every_location_once() -> None:
    """Each location is one hit, and NMS drops nothing, so what two bands took would be seen."""
    logits = torch.full((1, 80, 90, 70), -10.0)
    logits[:, 7] = 5.0
    heads = [logits], [torch.rand(1, 4, 90, 70)], [torch.ones(1, 1, 90, 70)]
    for threads in (1, 2):
        torch.set_num_threads(threads)
        assert detect(heads, ALL._replace(score_threshold=0.5)).count == 90 * 70


@pytest.mark.every_device
def test_images_do_not_see_each_other() -> None:
    heads = to(make_heads(4, 12), torch.float32)
    together, sizes = detect(heads, "improved"), image_sizes(heads)
    for b in range(4):
        alone = ([t[b : b + 1] for t in heads[0]], [t[b : b + 1] for t in heads[1]])
        single = (*alone, [t[b : b + 1] for t in heads[2]])
        found = detect(single, "improved", sizes=sizes[b : b + 1])
        assert_equal(found, Detections(*(column[b : b + 1] for column in together)))
