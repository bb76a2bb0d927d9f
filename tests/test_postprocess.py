"""postprocess against the reference."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import fcos_ops
from fcos_ops import POSTPROCESS_RULES, Level, PostprocessRule, reference
from tests.inputs.postprocess import (
    SIZES,
    assert_near,
    detect,
    image_sizes,
    levels_of,
    make_heads,
    to,
)


@pytest.mark.every_device
@pytest.mark.parametrize("name", POSTPROCESS_RULES)
def test_presets_match_the_reference(name: str) -> None:
    """Labels and counts are those of float64: the random scores are far enough from ties. (float16
    and bfloat16: see test_half_types_are_float32_of_fewer_bits.)"""
    rule = POSTPROCESS_RULES[name]._replace(candidates_per_level=40)
    for classes in (1, 4, 19):
        heads = to(make_heads(2, classes), torch.float32)
        heads[0][0][1] = -30.0  # nothing to find on the finest level of the last image
        exact = to(heads, torch.float64)
        options: dict[str, Any] = {"levels": levels_of(heads), "rule": rule}
        expected = reference.postprocess(*exact, image_sizes(heads), **options)
        assert expected.count.min() > 10
        found, found_exact = detect(heads, rule), detect(exact, rule)
        assert (found.boxes.dtype, found_exact.boxes.dtype) == (torch.float32, torch.float64)
        assert_near(found, expected, 1e-6)
        assert_near(found_exact, expected, 1e-12)


@pytest.mark.every_device
def test_preset_names_bring_their_head_convention() -> None:
    heads = to(make_heads(2, 3, SIZES[1:]), torch.float32)
    for name in POSTPROCESS_RULES:
        levels = levels_of(heads)
        expected = reference.postprocess(*heads, image_sizes(heads), levels=levels, rule=name)
        assert_near(detect(heads, name), expected, 1e-6)
        options: dict[str, Any] = {"normalized": False, "location_offset": 0.25}
        expected = reference.postprocess(
            *heads, image_sizes(heads), levels=levels, rule=name, **options
        )
        assert_near(detect(heads, name, **options), expected, 1e-6)


@given(
    seed=st.integers(0, 2**31),
    sizes=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=4),
    classes=st.integers(0, 12),
    batch=st.integers(0, 3),
    threshold=st.sampled_from([-1.0, 0.0, 0.05, 0.25, 0.5, 0.6, 1.0]),
    switches=st.tuples(
        st.sampled_from(["class", "score"]),
        st.sampled_from(["class", "score"]),
        st.sampled_from(["sqrt", "product"]),
        st.sampled_from(["before_nms", "after_nms"]),
        st.booleans(),
        st.booleans(),
    ),
    k=st.sampled_from([0, 1, 3, 20, 10**6]),
    iou=st.sampled_from([0.0, 0.25, 0.5, 0.6, 1.0]),
    limit=st.sampled_from([0, 1, 5, 1000]),
    class_limit=st.sampled_from([None, 0, 1, 3, 1000]),
    resized=st.booleans(),
    specials=st.booleans(),
    channels_last=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16]),
)
@settings(deadline=None, max_examples=150)
def test_equals_the_reference_where_everything_ties(
    seed: int,
    sizes: list[tuple[int, int]],
    classes: int,
    batch: int,
    threshold: float,
    switches: tuple[str, str, str, str, bool, bool],
    k: int,
    iou: float,
    limit: int,
    class_limit: int | None,
    resized: bool,
    specials: bool,
    channels_last: bool,
    dtype: torch.dtype,
) -> None:
    """Few different numbers: equal scores, equal boxes, IoU and scores at their thresholds."""
    g = torch.Generator().manual_seed(seed)

    def draw(values: list[float], channels: int) -> list[Tensor]:
        if specials:
            values = values + [math.nan, math.inf, -math.inf, 200.0]
        table = torch.tensor(values, dtype=dtype)
        heads = [
            table[torch.randint(len(values), (batch, channels, h, w), generator=g)]
            for h, w in sizes
        ]
        if channels_last:
            heads = [t.contiguous(memory_format=torch.channels_last) for t in heads]
        return heads

    heads = (
        draw([-6.0, -2.0, -1.0, 0.0, 3.0], classes),
        draw([0.0, 0.5, 1.0, 2.0], 4),
        draw([-3.0, 0.0, 1.5], 1),
    )
    on, rank_by, score, clip, drop_empty, agnostic = switches
    rule = PostprocessRule(
        on, rank_by, score, threshold, k, iou, limit, clip, drop_empty, agnostic, class_limit
    )
    levels = levels_of(heads)
    bounds = torch.randint(0, 60, (batch, 2), generator=g)
    original = torch.randint(0, 200, (batch, 2), generator=g) if resized else None
    options = {"levels": levels, "original_sizes": original, "rule": rule}
    found = fcos_ops.postprocess(*heads, bounds, **options)
    expected = reference.postprocess(*heads, bounds, **options)
    assert torch.equal(found.count, expected.count)
    assert torch.equal(found.labels, expected.labels)
    assert torch.equal(found.boxes, expected.boxes)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-6, atol=1e-30)


@pytest.mark.every_device
def test_many_levels_and_integer_types() -> None:
    heads = to(make_heads(2, 3, [(3, 4)] * 16), torch.float32)
    levels = [Level(3, 4, 3 + i, 5 + i, 2.5 * i + 1, 0.0, math.inf) for i in range(16)]
    sizes = torch.tensor([[50, 99], [40, 70]])
    expected = reference.postprocess(*heads, sizes, levels=levels)
    for dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        assert_near(detect(heads, "improved", levels=levels, sizes=sizes.to(dtype)), expected, 1e-6)
    strided = torch.stack([sizes, sizes], -1).flatten(1)[:, ::2]
    assert_near(detect(heads, "improved", levels=levels, sizes=strided), expected, 1e-6)
