"""Weights from files into networks: what is found in a file, and what a network takes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fcos.errors import UserError
from fcos.models import FCOS, ModelConfig
from fcos.models.norm import FrozenBatchNorm2d
from fcos.weights import build, load_weights, read_weights_file, unwrap

from .helpers import small_model

STATE = {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2)}
LATER = {"a.weight": torch.full((2, 3), 5.0), "a.bias": torch.zeros(2)}


def _with(prefix: str, state: dict[str, Any] = STATE) -> dict[str, Any]:
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"model": STATE, "optimizer": {"state": {}}, "epoch": 3, "args": None},
        {"meta": {"epoch": 12}, "state_dict": STATE, "optimizer": {}},
        {"state_dict": _with("model."), "hyper_parameters": {"lr": 1}},
        {"model": STATE, "model_ema": _with("module.", LATER)},
        {"model": LATER, "state_dict": STATE, "ema_state_dict": LATER},
        {"ema": {"model": _with("module.")}, "step": 3},
        {"model_state_dict": _with("_orig_mod.module.")},
        {"model": _with("module._orig_mod.")},
        {"blobs": {name: value.numpy() for name, value in STATE.items()}},
        {"model": "resnet50", "weights": STATE},
    ],
)
def test_weights_are_found(content: dict[str, Any]) -> None:
    found = unwrap(content)
    assert list(found) == list(STATE)
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


def test_only_a_prefix_of_all_names_goes() -> None:
    weights = {**_with("module."), "b": torch.zeros(1)}
    assert list(unwrap(weights)) == list(weights)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(1)], "a.pth must hold a mapping of weights, got list"),
        (torch.zeros(1), "a.pth must hold a mapping of weights, got Tensor"),
        (None, "a.pth must hold a mapping of weights, got NoneType"),
        ({}, "a.pth must hold weights, got an empty mapping"),
        ({"model": {}}, "a.pth must hold weights, got an empty mapping"),
        ({3: torch.zeros(1)}, "a.pth: names of weights must be texts, got 3"),
        (
            {**STATE, "b": 1, "c": [], "d": "x", "e": None},
            "a.pth must hold tensors alone, got 4 of 6 entries that are none ('b', 'c', 'd' and 1 "
            "more; the first is int)",
        ),
        ({"a": torch.zeros(1, device="meta")}, "1 of 1 entries that are none ('a'; "),
        ({"a": torch.zeros(2, 2).to_sparse()}, "1 of 1 entries that are none ('a'; "),
        ({"a": np.array(["x"], object)}, "1 of 1 entries that are none ('a'; "),
    ],
)
def test_what_holds_no_weights_is_named(content: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        unwrap(content, "a.pth")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def _config(**changes: Any) -> ModelConfig:
    return small_model(**changes).config


@pytest.mark.parametrize("preset", ["improved", "detectron2"])
def test_build_takes_the_tensors_themselves(preset: str) -> None:
    source = small_model(preset=preset, norm="bn")
    weights = source.state_dict()
    model = build(source.config, weights)
    taken = model.state_dict()
    assert list(taken) == list(weights)
    assert all(torch.equal(taken[name], weights[name]) for name in weights)
    assert all(taken[name].data_ptr() == weights[name].data_ptr() for name in weights)
    trained = {name for name, parameter in source.named_parameters() if parameter.requires_grad}
    assert {name for name, p in model.named_parameters() if p.requires_grad} == trained
    with torch.no_grad():
        images = [torch.rand(3, 40, 50)]
        ours, theirs = (m.eval()(images).boxes for m in (model, source))
    assert torch.equal(ours, theirs)


def test_frozen_parameters_stay_frozen() -> None:
    source = small_model()
    with torch.device("meta"):
        model = FCOS(source.config)
    for parameter in model.backbone.body.conv1.parameters():
        parameter.requires_grad_(False)
    load_weights(model, {n: torch.nn.Parameter(v) for n, v in source.state_dict().items()})
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ["backbone.body.conv1.weight"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(dtype: torch.dtype) -> None:
    source = small_model(norm="bn")
    half = {n: v.to(dtype) if v.is_floating_point() else v for n, v in source.state_dict().items()}
    models = build(source.config, half), small_model(norm="bn")
    load_weights(models[1], half)
    for model in models:
        for name, value in model.state_dict().items():
            assert value.dtype == source.state_dict()[name].dtype
            assert torch.equal(value, half[name].to(value.dtype))


def test_no_weight_keeps_the_memory_of_others() -> None:
    """Neither of a larger tensor that it was cut from, nor of one with which it would change."""
    layer = torch.nn.Linear(3, 3, device="meta")
    whole = torch.rand(100, 3)
    load_weights(layer, {"weight": whole[:3], "bias": whole[7]})
    assert all(p.untyped_storage().nbytes() == 4 * p.numel() for p in layer.parameters())
    layer = torch.nn.Linear(3, 3, device="meta")
    load_weights(layer, {"weight": whole[:3].clone().t(), "bias": torch.zeros(3)})
    assert layer.weight.is_contiguous() and torch.equal(layer.weight, whole[:3].t())
    pair = torch.nn.ParameterDict({n: torch.zeros(3, device="meta") for n in "ab"})
    shared = torch.rand(3)
    load_weights(pair, {"a": shared, "b": shared})
    with torch.no_grad():
        pair["a"].add_(1)
    assert torch.equal(pair["a"], pair["b"] + 1)


def test_counters_start_at_zero_and_are_left_out_of_fixed_norms() -> None:
    live, fixed = torch.nn.BatchNorm2d(3), FrozenBatchNorm2d(3)
    live.num_batches_tracked.fill_(9)
    assert len(fixed.state_dict()) == 4
    load_weights(fixed, live.state_dict())
    load_weights(live, fixed.state_dict())
    assert live.num_batches_tracked == 0
    assert build(_config(norm="bn"), small_model(norm="frozen_bn").state_dict())


def test_a_parameter_without_weights_is_a_fault() -> None:
    module = torch.nn.Module()
    module.register_buffer("grid", torch.zeros(3, device="meta"), persistent=False)
    module.register_buffer("a", torch.zeros(3, device="meta"))
    with pytest.raises(RuntimeError, match="no weights give the network its 'grid'"):
        load_weights(module, {"a": torch.zeros(3)})


def _error(weights: Any, **changes: Any) -> str:
    model = small_model(**changes)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError) as caught:
        load_weights(model, weights)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(ValueError) as of_build:
        build(model.config, weights)
    assert str(of_build.value) == str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_errors_name_three_of_each_difference() -> None:
    weights = {**small_model().state_dict()}
    assert _error([]) == "weights must be in a dictionary, got list"
    assert "got int under 'a'" in _error({**weights, "a": 1})
    assert "got Tensor under 'a'" in _error({**weights, "a": torch.zeros(1, device="meta")})
    less = {name: value for name, value in weights.items() if ".scales." not in name}
    scales = "'head.regression_head.scales.{}.scale'"
    three = ", ".join(scales.format(i) for i in range(3))
    count = len(weights)
    assert _error(less) == (
        f"weights: 5 of {count} missing ({three} and 2 more) (are they of another network?)"
    )
    assert "weights: 1 not of this network ('a') (are" in _error({**weights, "a": torch.zeros(1)})
    name = "head.classification_head.cls_logits.bias"
    assert _error({**weights, name: torch.zeros(7)}) == (
        f"weights: 1 of another shape ({name!r}; the first must be [3], got [7]) "
        "(are they of another width or number of classes?)"
    )
    assert f"1 of another kind ({name!r}; the first must be torch.float32, got torch.int64)" in (
        _error({**weights, name: torch.zeros(3, dtype=torch.int64)})
    )
    assert "(are they of another norm?)" in _error(small_model(norm="bn").state_dict())


def test_a_file_becomes_a_model(tmp_path: Path) -> None:
    source = small_model()
    torch.save({"state_dict": _with("module.", source.state_dict())}, tmp_path / "a.pth")
    model = build(source.config, unwrap(read_weights_file(tmp_path / "a.pth")))
    for name, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[name])
