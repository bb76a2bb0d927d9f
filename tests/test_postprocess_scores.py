"""Scores of postprocess, its threshold and the best candidates of each level."""

from typing import Any

import pytest
import torch

from tests.common import DTYPES
from tests.inputs.postprocess import (
    ALL,
    detect,
    to,
)


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
