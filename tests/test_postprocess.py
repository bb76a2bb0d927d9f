"""postprocess against the reference, against itself under other circumstances, and as a citizen of
torch."""

import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import fcos_ops
from fcos_ops import POSTPROCESS_RULES, Level, PostprocessRule, reference
from fcos_ops.results import Detections
from tests.common import DTYPES
from tests.repository import REPOSITORY

Heads = tuple[list[Tensor], list[Tensor], list[Tensor]]

SIZES = ((13, 18), (7, 9), (4, 5), (2, 3), (1, 1))
# Everything is a detection: one candidate of each class of each location, none suppressed.
ALL = PostprocessRule("class", "score", "sqrt", -1.0, 10**9, 1.0, 10**5, "after_nms", False)


def make_heads(batch: int, classes: int, sizes: Sequence[Any] = SIZES, bias: float = -1.0) -> Heads:
    """Random head outputs in float64, each level with its own share of strong logits."""
    cls_logits = [torch.randn(batch, classes, h, w).double() * 2 + bias for h, w in sizes]
    ltrb = [torch.rand(batch, 4, h, w).double() * 5 for h, w in sizes]
    return cls_logits, ltrb, [torch.randn(batch, 1, h, w).double() for h, w in sizes]


def to(heads: Heads, *arguments: Any, **options: Any) -> Heads:
    cls_logits, ltrb, centerness = ([t.to(*arguments, **options) for t in head] for head in heads)
    return cls_logits, ltrb, centerness


def levels_of(heads: Heads, scale: float = 8.0) -> tuple[Level, ...]:
    return tuple(
        Level(t.shape[2], t.shape[3], 8 << i, 8 << i, scale * 2**i, 0.0, math.inf)
        for i, t in enumerate(heads[0])
    )


def image_sizes(heads: Heads) -> Tensor:
    """Somewhat smaller than the padded batch, different for each image."""
    _, _, height, width = heads[0][0].shape
    return torch.tensor([(8 * height - 9 * b, 8 * width - 5 * b) for b in range(len(heads[0][0]))])


def detect(heads: Heads, rule: Any, **options: Any) -> Detections:
    options.setdefault("levels", levels_of(heads))
    sizes = options.pop("sizes", image_sizes(heads))
    return fcos_ops.postprocess(*heads, sizes, rule=rule, **options)


def assert_equal(actual: Detections, expected: Detections) -> None:
    for name, a, b in zip(Detections._fields, actual, expected, strict=True):
        assert torch.equal(a, b), name


def assert_near(actual: Detections, expected: Detections, tolerance: float) -> None:
    """The same detections; boxes and scores as near as `tolerance` says, relatively."""
    assert torch.equal(actual.count, expected.count)
    assert torch.equal(actual.labels, expected.labels)
    for name in ("boxes", "scores"):
        a, b = getattr(actual, name).double(), getattr(expected, name).double()
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


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


# ------------------------------------------------------------------------- what must not matter

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels_last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "transposed": lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
    "cropped": lambda t: torch.nn.functional.pad(t, (1, 3, 2, 1))[..., 2:-1, 1:-3],
    "cropped_last": lambda t: torch.nn.functional.pad(t, (1, 3, 2, 1)).contiguous(
        memory_format=torch.channels_last
    )[..., 2:-1, 1:-3],
    "strided": lambda t: t[..., None].expand(-1, -1, -1, -1, 2).flatten(3)[..., ::2],
    "batch_inside": lambda t: t.movedim(0, 3).contiguous().movedim(3, 0),
    "offset_channels": lambda t: torch.cat([t, t], 1)[:, t.shape[1] :],
}


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


def test_baseline_instruction_set() -> None:
    """The code for processors without AVX2 finds the same detections."""
    test = f"{__file__}::test_presets_match_the_reference"
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--device", "cpu", test],
        cwd=REPOSITORY,
        env={**os.environ, "FCOS_OPS_ISA": "baseline"},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout
    assert f"{len(POSTPROCESS_RULES)} passed" in finished.stdout


# ------------------------------------------------------------------------ scores and thresholds


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("score", ["sqrt", "product"])
def test_scores_of_all_logits(score: str, dtype: torch.dtype) -> None:
    limit = 40.0 if dtype == torch.float32 else 350.0  # no product is subnormal
    logits = torch.linspace(-limit, limit, 20001, dtype=torch.float64).to(dtype)
    heads = (
        [logits.view(1, 1, 1, -1)],
        [torch.ones(1, 4, 1, 20001)],
        [logits.flip(0).view(1, 1, 1, -1) / 3],
    )
    found = detect(heads, ALL._replace(score=score), sizes=torch.tensor([[9, 9]]))
    expected = (
        logits.double().sigmoid() * (logits.double().flip(0) / 3).to(dtype).double().sigmoid()
    )
    expected = (expected.sqrt() if score == "sqrt" else expected).sort(descending=True).values
    actual = found.scores[0, :20001].double()
    assert found.count == 20001
    assert ((actual - expected).abs() / expected).max() < (
        4e-7 if dtype == torch.float32 else 2e-15
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("threshold_on", ["class", "score"])
@pytest.mark.parametrize("score", ["sqrt", "product"])
def test_no_candidate_is_lost_near_the_threshold(
    score: str, threshold_on: str, dtype: torch.dtype
) -> None:
    """The bound on logits may let too much through, never too little: with a threshold there are as
    many detections as scores above it without one. All logits lie around their bound."""
    thresholds = [1e-30, 1e-12, 1e-3, 0.05, 0.2, 0.5, 0.9, 0.999, 1 - 1e-7]
    for t in thresholds:
        need = torch.tensor(t, dtype=torch.float64)
        centerness = torch.linspace(-8, 20, 300, dtype=torch.float64)
        if threshold_on == "score":
            need = (t * t if score == "sqrt" else t) / centerness.sigmoid().clamp(min=1e-300)
        exact = need.clamp(max=1 - 1e-12).logit()
        noise = torch.randn(40, 300, dtype=torch.float64)
        logits = exact + noise * 10.0 ** torch.randint(-7, 0, (40, 300))
        cls_logits = logits.to(dtype)[None, :, None]
        heads = [cls_logits], [torch.ones(1, 4, 1, 300)], [centerness.to(dtype)[None, None, None]]
        rule = ALL._replace(score=score)
        options: dict[str, Any] = {"sizes": torch.tensor([[9, 9]])}
        scores = detect(heads, rule, **options).scores[0, :12000]
        if threshold_on == "class":
            ones = [torch.full((1, 1, 1, 300), 200.0, dtype=dtype)]  # sigmoid 1
            scores = detect((*heads[:2], ones), rule._replace(score="product"), **options).scores
        limited = rule._replace(score_threshold=t, threshold_on=threshold_on)
        expected = int((scores > torch.tensor(t, dtype=scores.dtype)).sum())
        assert detect(heads, limited, **options).count == expected


@pytest.mark.every_device
def test_a_value_at_the_threshold_is_left_out() -> None:
    # Logits of 0 give 1/2 exactly: class 1/2, sqrt(1/4) = 1/2, product 1/4.
    heads = to(([torch.zeros(1, 3, 2, 2)], [torch.ones(1, 4, 2, 2)], [torch.zeros(1, 1, 2, 2)]))
    for on, score, threshold in (
        ("class", "sqrt", 0.5),
        ("score", "sqrt", 0.5),
        ("score", "product", 0.25),
    ):
        for dtype in DTYPES:
            rule = ALL._replace(threshold_on=on, score=score, score_threshold=threshold)
            assert detect(to(heads, dtype), rule).count == 0
            below = rule._replace(score_threshold=threshold - 1e-7)
            assert detect(to(heads, dtype), below).count == 12


@pytest.mark.every_device
@pytest.mark.parametrize("threshold_on", ["class", "score"])
@pytest.mark.parametrize("dtype, count", [(torch.float32, 2), (torch.float64, 4)], ids=str)
def test_threshold_of_zero(dtype: torch.dtype, count: int, threshold_on: str) -> None:
    """Every score above 0 passes: of logits down to -87 in float32, to -708 in float64."""
    logits = torch.tensor([0.0, -80, -95, -600, -740]).view(1, 5, 1, 1)
    heads = to(([logits], [torch.ones(1, 4, 1, 1)], [torch.zeros(1, 1, 1, 1)]), dtype)
    rule = ALL._replace(threshold_on=threshold_on, score_threshold=0.0)
    assert detect(heads, rule).count == count
    assert detect(heads, rule._replace(score_threshold=-1.0)).count == 5


@pytest.mark.parametrize("order", ["random", "rising", "falling", "tied"])
@pytest.mark.parametrize("rank_by", ["score", "class"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_top_k_is_the_start_of_the_sorted_list(
    channels_last: bool, rank_by: str, order: str
) -> None:
    """In whatever order candidates arrive, and also where the bound rises many times."""
    logits = torch.randn(1, 20, 50, 40)
    if order == "tied":
        logits = logits.round()
    elif order != "random":
        logits = logits.flatten().sort(descending=order == "falling").values.view(1, 20, 50, 40)
    if channels_last:
        logits = logits.contiguous(memory_format=torch.channels_last)
    centerness = (
        torch.randn(1, 1, 50, 40).round() if rank_by == "class" else torch.ones(1, 1, 50, 40)
    )
    heads = [logits], [torch.rand(1, 4, 50, 40)], [centerness]
    class_score = logits[0].permute(1, 2, 0).flatten().sigmoid()
    score = (class_score * centerness.flatten().sigmoid().repeat_interleave(20)).sqrt()
    ranked = torch.sort(class_score, descending=True, stable=True).indices
    for k in (1, 1000, 1024, 5000, 39999, 2**62):
        found = detect(heads, ALL._replace(rank_by=rank_by, candidates_per_level=k))
        count = int(found.count)
        assert count == min(k, 40000)
        chosen = ranked[:count]
        expected = score[chosen].sort(descending=True).values
        torch.testing.assert_close(found.scores[0, :count], expected, rtol=1e-6, atol=0)
        labels = found.labels[0, :count]
        assert torch.equal(labels.bincount(minlength=20), (chosen % 20).bincount(minlength=20))


# ------------------------------------------------------------------------------ ties and oddities


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
    ),
    k=st.sampled_from([0, 1, 3, 20, 10**6]),
    iou=st.sampled_from([0.0, 0.25, 0.5, 0.6, 1.0]),
    limit=st.sampled_from([0, 1, 5, 1000]),
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
    switches: tuple[str, str, str, str, bool],
    k: int,
    iou: float,
    limit: int,
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
    on, rank_by, score, clip, drop_empty = switches
    rule = PostprocessRule(on, rank_by, score, threshold, k, iou, limit, clip, drop_empty)
    levels = levels_of(heads)
    bounds = torch.randint(0, 60, (batch, 2), generator=g)
    found = fcos_ops.postprocess(*heads, bounds, levels=levels, rule=rule)
    expected = reference.postprocess(*heads, bounds, levels=levels, rule=rule)
    assert torch.equal(found.count, expected.count)
    assert torch.equal(found.labels, expected.labels)
    assert torch.equal(found.boxes, expected.boxes)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-6, atol=1e-30)


@pytest.mark.every_device
def test_many_levels_and_integer_types() -> None:
    heads = to(make_heads(2, 3, [(3, 4)] * 16), torch.float32)
    levels = [Level(3, 4, 3 + i, 5 + i, 2.5 * i, 0.0, math.inf) for i in range(16)]
    sizes = torch.tensor([[50, 99], [40, 70]])
    expected = reference.postprocess(*heads, sizes, levels=levels)
    for dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        assert_near(detect(heads, "improved", levels=levels, sizes=sizes.to(dtype)), expected, 1e-6)
    strided = torch.stack([sizes, sizes], -1).flatten(1)[:, ::2]
    assert_near(detect(heads, "improved", levels=levels, sizes=strided), expected, 1e-6)


# --------------------------------------------------------------------- sizes that kernels cut at

EDGES = (1, 63, 64, 65, 512, 513, 520)  # locations of a level, round the tiles of a GPU
DENSE = ALL._replace(iou_threshold=0.5, max_detections=200)


def reference_of(heads: Heads, rule: Any) -> Detections:
    """In float64, which the random scores are far enough from ties for."""
    exact = to(heads, torch.float64)
    return reference.postprocess(*exact, image_sizes(heads), levels=levels_of(heads), rule=rule)


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


# ----------------------------------------------------------------------------- a citizen of torch


def test_is_not_differentiable() -> None:
    heads = make_heads(1, 3)
    for head in heads:
        for tensor in head:
            tensor.requires_grad_()
    found = detect(heads, "improved")
    assert not found.boxes.requires_grad and not found.scores.requires_grad
    rule = POSTPROCESS_RULES["improved"]
    geometry = [8] * 5, [8] * 5, [8.0] * 5, True, 0.5
    found = torch.ops.fcos_ops.postprocess(*heads, image_sizes(heads), *geometry, *rule, True)
    assert not found[0].requires_grad and not found[1].requires_grad


@pytest.mark.parametrize("native", [True, False], ids=["native", "reference"])
def test_opcheck(native: bool) -> None:
    heads = to(make_heads(2, 7, SIZES[2:]), torch.float32)
    for tensor in heads[0]:
        tensor.requires_grad_()
    geometry = [8] * 3, [8] * 3, [8.0] * 3, True, 0.5
    arguments = (*heads, image_sizes(heads), *geometry, *POSTPROCESS_RULES["detectron2"], native)
    torch.library.opcheck(torch.ops.fcos_ops.postprocess.default, arguments)


class Detect(torch.nn.Module):
    """With strides that follow from the sizes, as torchvision's."""

    def forward(
        self, cls_logits: list[Tensor], ltrb: list[Tensor], centerness: list[Tensor], sizes: Tensor
    ) -> Detections:
        levels = fcos_ops.pyramid_levels(
            [t.shape[2:] for t in cls_logits],
            image_size=(cls_logits[0].shape[2] * 8, cls_logits[0].shape[3] * 8),
            rule="torchvision",
        )
        cls_logits = [t + 1 for t in cls_logits]
        found = fcos_ops.postprocess(
            cls_logits, ltrb, centerness, sizes, levels=levels, rule="torchvision"
        )
        return found._replace(boxes=found.boxes * 2)


def pyramid(height: int, width: int) -> list[tuple[int, int]]:
    return [(-(-height // 2**i), -(-width // 2**i)) for i in range(5)]


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
def test_compile_and_export(backend: str) -> None:
    eager = Detect()

    def inputs(batch: int, height: int, width: int) -> Any:
        heads = to(make_heads(batch, 6, pyramid(height, width)), torch.float32)
        return (*heads, image_sizes(heads))

    with fcos_ops.backend(backend):
        compiled = torch.compile(eager, fullgraph=True, dynamic=True)
        for shape in ((2, 40, 48), (3, 33, 70)):
            arguments = inputs(*shape)
            assert_equal(compiled(*arguments), eager(*arguments))
        dynamic = {0: torch.export.Dim.DYNAMIC}
        head = [{**dynamic, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}] * 5
        shapes = (head, head, head, dynamic)
        program = torch.export.export(eager, inputs(2, 40, 48), dynamic_shapes=shapes)
        for shape in ((3, 33, 70), (4, 64, 64)):
            arguments = inputs(*shape)
            assert_equal(program.module()(*arguments), eager(*arguments))


GOOD = to(make_heads(2, 3, SIZES[3:]), torch.float32)
HEADS = dict(zip(("cls_logits", "ltrb", "centerness"), GOOD, strict=True))
RULE = POSTPROCESS_RULES["improved"]


def changed(name: str, change: Callable[[Tensor], Any]) -> dict[str, Any]:
    """The last level of a head, changed."""
    return {name: [*HEADS[name][:-1], change(HEADS[name][-1])]}


BAD_INPUT: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"cls_logits": []}, ValueError, "cls_logits must hold 1 to 16 levels"),
    ({"cls_logits": HEADS["cls_logits"] * 9}, ValueError, "cls_logits must hold 1 to 16 levels"),
    ({"ltrb": HEADS["ltrb"][:1]}, ValueError, "ltrb must hold 2 levels"),
    ({"centerness": HEADS["centerness"][:1]}, ValueError, "centerness must hold 2 levels"),
    ({"levels": levels_of(GOOD)[:1]}, ValueError, "levels must hold 2 levels"),
    ({"cls_logits": [t[0] for t in HEADS["cls_logits"]]}, ValueError, r"cls_logits\[0\] must have"),
    ({"ltrb": [None, None]}, TypeError, r"ltrb\[0\] must be a torch.Tensor"),
    (changed("cls_logits", lambda t: [1.0]), TypeError, r"cls_logits\[1\] must be a torch.Tensor"),
    (changed("cls_logits", lambda t: t.double()), TypeError, r"cls_logits\[1\] must have dtype"),
    (changed("ltrb", lambda t: t.half()), TypeError, r"ltrb\[1\] must have dtype float32"),
    ({"centerness": [t.int() for t in HEADS["centerness"]]}, TypeError, r"centerness\[0\] must"),
    (changed("cls_logits", lambda t: t[:, :2]), ValueError, r"cls_logits\[1\] must have shape"),
    (changed("ltrb", lambda t: t[:, :3]), ValueError, r"ltrb\[1\] must have shape"),
    (changed("ltrb", lambda t: t[:1]), ValueError, r"ltrb\[1\] must have shape"),
    (changed("centerness", lambda t: t[:, 0]), ValueError, r"centerness\[1\] must have shape"),
    (changed("centerness", lambda t: t.to("meta")), ValueError, r"centerness\[1\] must be on the"),
    ({"levels": levels_of(GOOD)[::-1]}, ValueError, r"cls_logits\[0\] must have shape"),
    ({"image_sizes": [[8, 8]] * 2}, TypeError, "image_sizes must be a torch.Tensor"),
    ({"image_sizes": torch.ones(2, 2)}, TypeError, "image_sizes must have dtype"),
    ({"image_sizes": torch.ones(1, 2).long()}, ValueError, "image_sizes must have shape"),
    ({"image_sizes": torch.ones(2, 2).long().to("meta")}, ValueError, "image_sizes must be on"),
    ({"rule": "best"}, ValueError, "rule"),
    ({"rule": 3}, TypeError, "rule"),
    ({"rule": RULE._replace(clip="never")}, ValueError, "rule.clip"),
    ({"rule": RULE._replace(iou_threshold=1.5)}, ValueError, "rule.iou_threshold"),
    ({"rule": RULE._replace(iou_threshold=math.nan)}, ValueError, "rule.iou_threshold"),
    ({"rule": RULE._replace(candidates_per_level=-1)}, ValueError, "rule.candidates_per_level"),
    ({"rule": RULE._replace(max_detections=-1)}, ValueError, "rule.max_detections"),
]


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
@pytest.mark.parametrize("change, error, message", BAD_INPUT)
def test_bad_input(
    change: dict[str, Any], error: type[Exception], message: str, backend: str
) -> None:
    arguments = {**HEADS, "image_sizes": image_sizes(GOOD), "levels": levels_of(GOOD), **change}
    with fcos_ops.backend(backend), pytest.raises(error, match=message):
        fcos_ops.postprocess(**arguments)
