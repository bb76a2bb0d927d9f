"""Backbone weights of torchvision, Caffe2 and detectron2, in files laid out by hand."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fcos.errors import UserError
from fcos.models.resnet import ResNet
from fcos.preprocessing import Preprocessing
from fcos.weights import load_backbone, read_backbone_weights

BLOCKS = {2: 3, 3: 4, 4: 6, 5: 3}  # of a ResNet-50, by stage as Caffe2 and detectron2 count them
WIDTH = 4
BGR_MEAN, BGR_STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)


def _shapes(groups: int = 1) -> dict[str, tuple[int, ...]]:
    """What a thin bottleneck ResNet has, as stage.block.part: shapes of its convolutions."""
    shapes: dict[str, tuple[int, ...]] = {"stem": (WIDTH, 3, 7, 7)}
    inputs = WIDTH
    for stage, blocks in BLOCKS.items():
        planes = WIDTH * 2 ** (stage - 2)
        for block in range(blocks):
            shapes[f"{stage}.{block}.a"] = (planes, inputs, 1, 1)
            shapes[f"{stage}.{block}.b"] = (planes, planes // groups, 3, 3)
            shapes[f"{stage}.{block}.c"] = (4 * planes, planes, 1, 1)
            if block == 0:
                shapes[f"{stage}.{block}.1"] = (4 * planes, inputs, 1, 1)
            inputs = 4 * planes
    return shapes


def _array(generator: np.random.Generator, *shape: int) -> Any:
    return generator.uniform(0.5, 1.5, shape).astype(np.float32)


def _caffe2(suffixes: tuple[str, ...] = ("s", "b"), groups: int = 1) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    blobs = {}
    for place, shape in _shapes(groups).items():
        if place == "stem":
            convolution, norm = "conv1", "res_conv1_bn"
        else:
            stage, block, part = place.split(".")
            branch = "branch1" if part == "1" else f"branch2{part}"
            convolution = f"res{stage}_{block}_{branch}"
            norm = f"{convolution}_bn"
        blobs[f"{convolution}_w"] = _array(generator, *shape)
        for suffix in suffixes:
            blobs[f"{norm}_{suffix}"] = _array(generator, shape[0])
    blobs["fc1000_w"], blobs["fc1000_b"] = np.zeros((10, 2)), np.zeros(10)
    return blobs


def _detectron2() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    weights: dict[str, Any] = {}
    parts = {"a": "conv1", "b": "conv2", "c": "conv3", "1": "shortcut"}
    for place, shape in _shapes().items():
        if place == "stem":
            name = "stem.conv1"
        else:
            stage, block, part = place.split(".")
            name = f"res{stage}.{block}.{parts[part]}"
        weights[f"{name}.weight"] = _array(generator, *shape)
        for part in ("weight", "bias", "running_mean", "running_var"):
            weights[f"{name}.norm.{part}"] = _array(generator, shape[0])
        weights[f"{name}.norm.num_batches_tracked"] = np.array(7)
    weights["stem.fc.weight"], weights["stem.fc.bias"] = np.zeros((10, 2)), np.zeros(10)
    return weights


def _write(path: Path, content: Any) -> Path:
    path.write_bytes(pickle.dumps(content, 2))
    return path


def _body(norm: str = "frozen_bn") -> ResNet:
    return ResNet("resnet50", norm, WIDTH)  # type: ignore[arg-type]


def _holds(body: ResNet, source: dict[str, Any], pairs: dict[str, str]) -> None:
    state = body.state_dict()
    for theirs, ours in pairs.items():
        assert np.array_equal(state[ours].numpy(), source[theirs]), (theirs, ours)


CAFFE2_NAMES = {
    "conv1_w": "conv1.weight",
    "res_conv1_bn_s": "bn1.weight",
    "res_conv1_bn_b": "bn1.bias",
    "res2_0_branch2a_w": "layer1.0.conv1.weight",
    "res2_0_branch2b_bn_s": "layer1.0.bn2.weight",
    "res2_0_branch1_w": "layer1.0.downsample.0.weight",
    "res2_0_branch1_bn_b": "layer1.0.downsample.1.bias",
    "res4_5_branch2c_w": "layer3.5.conv3.weight",
    "res4_5_branch2c_bn_s": "layer3.5.bn3.weight",
    "res5_2_branch2b_w": "layer4.2.conv2.weight",
    "res5_2_branch2a_bn_b": "layer4.2.bn1.bias",
}


@pytest.mark.parametrize("under", [None, "blobs", "model"])
def test_detectrons_resnets(tmp_path: Path, under: str | None) -> None:
    blobs = _caffe2()
    more = {"conv1_w_momentum": np.zeros(3), "weight_order": "conv1_w res2"}
    content: Any = {**blobs, **more} if under is None else {under: {**blobs, **more}}
    if under == "model":
        content["matching_heuristics"] = True
    path = _write(tmp_path / "R-50.pkl", content)
    weights = read_backbone_weights(path)
    assert weights.stride_in_1x1 and weights.folded
    assert weights.applied_to(Preprocessing(size=64)) == Preprocessing(
        size=64, channel_order="bgr", max_value=255, mean=BGR_MEAN, std=(1.0, 1.0, 1.0)
    )
    body = _body()
    load_backbone(body, weights, path)
    _holds(body, blobs, CAFFE2_NAMES)
    norm = body.layer2[3].bn2
    assert norm.running_mean.eq(0).all() and norm.running_var.eq(1).all()
    with pytest.raises(UserError, match="R-50.pkl holds batch norms .* folded in: take norm fro"):
        load_backbone(_body("bn"), weights, path)


def test_a_bias_of_the_stem_moves_the_mean(tmp_path: Path) -> None:
    """MSRA's ResNet-50 has one. Conv with bias and norm equal what is loaded."""
    blobs = _caffe2()
    bias = np.linspace(-1, 1, WIDTH, dtype=np.float32)
    path = _write(tmp_path / "a.pkl", {**blobs, "conv1_b": bias})
    body = _body().double()
    load_backbone(body, read_backbone_weights(path), path)
    image = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    stem = (torch.from_numpy(blobs[name]).double() for name in ("conv1_w", "res_conv1_bn_s"))
    weight, scale = stem
    convolved = torch.nn.functional.conv2d(
        image, weight, torch.from_numpy(bias).double(), stride=2, padding=3
    )
    shift = torch.from_numpy(blobs["res_conv1_bn_b"]).double()
    expected = convolved * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
    body.bn1.eps = 0.0
    with torch.no_grad():
        torch.testing.assert_close(body.bn1(body.conv1(image)), expected)
    path = _write(tmp_path / "b.pkl", {**blobs, "conv1_b": bias[:2]})
    with pytest.raises(UserError, match=r"1 not of this network \('conv1.bias'\)"):
        load_backbone(_body(), read_backbone_weights(path), path)


@pytest.mark.parametrize(
    "suffixes", [("s", "b", "rm", "riv"), ("gamma", "beta", "running_mean", "running_var")]
)
def test_detectron2s_files_have_statistics(tmp_path: Path, suffixes: tuple[str, ...]) -> None:
    blobs = _caffe2(suffixes)
    content = {"model": blobs, "__author__": "Caffe2", "matching_heuristics": True}
    path = _write(tmp_path / "a.pkl", content)
    weights = read_backbone_weights(path)
    assert weights.stride_in_1x1 and not weights.folded and weights.std == (1.0, 1.0, 1.0)
    for norm in ("bn", "frozen_bn"):
        body = _body(norm)
        load_backbone(body, weights, path)
        parts = ("weight", "bias", "running_mean", "running_var")
        pairs = {
            f"res3_0_branch2b_bn_{suffix}": f"layer2.0.bn2.{part}"
            for suffix, part in zip(suffixes, parts, strict=True)
        }
        _holds(body, blobs, pairs)


def test_resnexts_have_their_strides_in_the_3x3(tmp_path: Path) -> None:
    """Detectron's were trained on BGR less its mean, detectron2's own one divided it as well."""
    for suffixes, std in ((("s", "b"), (1.0, 1.0, 1.0)), (("s", "b", "rm", "riv"), BGR_STD)):
        blobs = _caffe2(suffixes, groups=2)
        blobs["pred_w"] = blobs.pop("fc1000_w")
        weights = read_backbone_weights(_write(tmp_path / "X-101.pkl", blobs))
        assert not weights.stride_in_1x1 and weights.folded == (len(suffixes) == 2)
        assert (weights.channel_order, weights.max_value) == ("bgr", 255)
        assert (weights.mean, weights.std) == (BGR_MEAN, std)


def test_detectron2s_own_names(tmp_path: Path) -> None:
    """As tools/convert-torchvision-to-d2.py writes them."""
    source = _detectron2()
    content = {"model": source, "__author__": "torchvision", "matching_heuristics": True}
    path = _write(tmp_path / "r50.pkl", content)
    weights = read_backbone_weights(path)
    assert not weights.stride_in_1x1 and not weights.folded
    assert weights.applied_to(Preprocessing()) == Preprocessing(
        max_value=255, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)
    )
    body = _body("bn")
    load_backbone(body, weights, path)
    pairs = {
        "stem.conv1.weight": "conv1.weight",
        "stem.conv1.norm.running_var": "bn1.running_var",
        "res2.0.shortcut.weight": "layer1.0.downsample.0.weight",
        "res2.0.shortcut.norm.bias": "layer1.0.downsample.1.bias",
        "res4.5.conv3.norm.weight": "layer3.5.bn3.weight",
        "res5.2.conv2.weight": "layer4.2.conv2.weight",
        "res5.2.conv1.norm.num_batches_tracked": "layer4.2.bn1.num_batches_tracked",
    }
    _holds(body, source, pairs)


@pytest.mark.parametrize("is_zip", [True, False])
def test_torchvisions_names(tmp_path: Path, is_zip: bool) -> None:
    source = _body("bn").state_dict()
    path = tmp_path / "r50.pth"
    classifier = {"fc.weight": torch.zeros(10, 2), "fc.bias": torch.zeros(10)}
    plain = {**source, **classifier}
    wrapped = {"module." + name: value for name, value in plain.items()}
    for content in (plain, {"epoch": 3, "arch": "resnet50", "state_dict": wrapped}):
        torch.save(content, path, _use_new_zipfile_serialization=is_zip)
        weights = read_backbone_weights(path)
        assert not weights.stride_in_1x1 and not weights.folded
        assert weights.applied_to(Preprocessing(size=96)) == Preprocessing(size=96)
        for norm in ("bn", "frozen_bn"):
            body = _body(norm)
            load_backbone(body, weights, path)
            assert torch.equal(body.layer3[5].conv2.weight, source["layer3.5.conv2.weight"])


def test_other_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"

    def message(content: Any) -> str:
        _write(path, content)
        with pytest.raises(UserError) as caught:
            load_backbone(_body(), read_backbone_weights(path), path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        return str(caught.value)

    assert "got 5 others: 'a0', 'a1', 'a2' and 2 more" in message({f"a{i}": 0 for i in range(5)})
    one = np.ones(1)
    with_group_norm = {**_caffe2(()), "conv1_gn_s": one, "res2_0_branch2a_gn_s": one}
    assert "names of this layout only, got 'conv1_gn_s', 'res2_0_br" in message(with_group_norm)
    strange = {
        **_detectron2(),
        "stem.conv2.weight": np.zeros(1),
        "res6.0.conv1.weight": np.zeros(1),
    }
    assert "names of this layout only, got 'stem.conv2.weight', 'res6.0" in message(strange)
    no_array = {**_caffe2(), "res2_0_branch2a_w": 3}
    assert "none ('res2_0_branch2a_w'; the first is int)" in message(no_array)
    deeper = {**_caffe2(), "res2_3_branch2a_w": np.zeros((4, 16, 1, 1), np.float32)}
    error = message(deeper)
    assert "a.pkl does not fit this backbone: weights: 1 not of this network" in error
    assert "('layer1.3.conv1.weight') (are they of another network?)" in error
