import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch

from fcos_ops import presets
from fcos_ops.levels import Level, pyramid_levels

SIZES = [(100, 168), (50, 84), (25, 42), (13, 21), (7, 11)]  # of an 800 x 1344 image


def test_nominal_strides():
    levels = pyramid_levels(SIZES)
    assert levels[0] == Level(100, 168, 8, 8, 8.0, -1.0, 64.0)
    assert levels[4] == Level(7, 11, 128, 128, 128.0, 512.0, 1e8)
    assert pyramid_levels(SIZES, image_size=(800, 1344)) == levels


def test_derived_strides_of_torchvision():
    levels = pyramid_levels(SIZES, image_size=(800, 1344), rule="torchvision")
    # 800 // 13 = 61, 1344 // 21 = 64, 800 // 7 = 114, 1344 // 11 = 122
    assert [(v.stride_y, v.stride_x) for v in levels] == [
        (8, 8),
        (16, 16),
        (32, 32),
        (61, 64),
        (114, 122),
    ]
    assert [v.scale for v in levels] == [8, 16, 32, 64, 128]  # nominal all the same
    assert [(v.lower, v.upper) for v in levels] == [
        (0, 64),
        (64, 128),
        (128, 256),
        (256, 512),
        (512, math.inf),
    ]


def strides(third):
    return {"strides": (8, 16, third, 64, 128)}


def ranges(value):
    return {"rule": presets.ASSIGNMENT_RULES["improved"]._replace(ranges=value)}


def last_size(size):
    return {"sizes": [*SIZES[:4], size]}


BAD_INPUT = [
    ({"sizes": 5}, TypeError, "sizes must be a list or tuple, got int 5"),
    ({"sizes": ["ab"] * 5}, TypeError, "sizes[0] must be a list or tuple, got str 'ab'"),
    ({"sizes": [b"ab"] * 5}, TypeError, "sizes[0] must be a list or tuple, got bytes b'ab'"),
    ({"sizes": torch.ones(5, 2)}, TypeError, "sizes must be a list or tuple, got torch.float32 te"),
    ({"sizes": SIZES[:3]}, ValueError, "got 3 sizes, 5 strides and 5 ranges"),
    (last_size((7, 11, 3)), ValueError, "sizes[4] must be (height, width), got tuple (7, 11, 3)"),
    (last_size((7, -1)), ValueError, "sizes[4][1] must be in [0, 2147483646], got int -1"),
    (last_size((2**40, 1)), ValueError, "sizes[4][0] must be in [0, 2147483646], got int 10995"),
    (last_size((7, 1.5)), TypeError, "sizes[4][1] must be an int, got float 1.5"),
    (last_size((math.nan, 1)), TypeError, "sizes[4][0] must be an int, got float nan"),
    (last_size((7, True)), TypeError, "sizes[4][1] must be an int, got bool True"),
    (last_size((7, torch.tensor(1))), TypeError, "sizes[4][1] must be an int, got torch.int64 t"),
    ({"strides": None}, TypeError, "strides must be a list or tuple, got NoneType None"),
    ({"strides": ["8"] * 5}, TypeError, "strides[0] must be an int, got str '8'"),
    (strides(0), ValueError, "strides[2] must be in [1, 4611686018427387904], got int 0"),
    (strides(-8), ValueError, "strides[2] must be in [1, 4611686018427387904], got int -8"),
    (strides(10**400), ValueError, "strides[2] must be in [1, 4611686018427387904], got int bey"),
    (strides(1.5), TypeError, "strides[2] must be an int, got float 1.5"),
    (strides(math.nan), TypeError, "strides[2] must be an int, got float nan"),
    (strides(math.inf), TypeError, "strides[2] must be an int, got float inf"),
    ({"image_size": 5}, TypeError, "image_size must be a list or tuple, got int 5"),
    ({"image_size": (800,)}, ValueError, "image_size must be (height, width), got tuple (800,)"),
    ({"image_size": (-5, -5)}, ValueError, "image_size[0] must be in [0, 2147483646], got int -5"),
    ({"image_size": (0, 0)}, ValueError, "image_size must not be smaller than sizes[0], (100, 16"),
    ({"image_size": (99, 800)}, ValueError, "must not be smaller than sizes[0], (100, 168), got"),
    ({"image_size": (math.nan, 1)}, TypeError, "image_size[0] must be an int, got float nan"),
    (ranges(5), TypeError, "rule.ranges must be a list or tuple, got int 5"),
    (ranges([(0, 1, 2)] * 5), ValueError, "rule.ranges[0] must be (lower, upper), got tuple (0,"),
    (ranges([("a", "b")] * 5), TypeError, "rule.ranges[0][0] must be a number, got str 'a'"),
    (ranges(["ab"] * 5), TypeError, "rule.ranges[0] must be a list or tuple, got str 'ab'"),
    (ranges([(0, math.nan)] * 5), ValueError, "rule.ranges[0][1] must be in [-inf, inf], got nan"),
    ({"rule": "fcos"}, ValueError, "paper, improved, torchvision, detectron2, mmdet, got 'fcos'"),
    ({"rule": 5}, TypeError, "rule must be a preset name or an AssignmentRule, got int 5"),
]


@pytest.mark.parametrize("rule", ["improved", "torchvision"])
@pytest.mark.parametrize(("changes", "error", "message"), BAD_INPUT)
def test_errors_name_the_argument(changes, error, message, rule):
    with pytest.raises(error, match=re.escape(message)):
        pyramid_levels(**{"sizes": SIZES, "rule": rule, **changes})


def test_numbers_of_other_types_become_plain_ones():
    sizes = [tuple(np.int64(n) for n in size) for size in SIZES]
    ranges = [(Fraction(1, 2), np.float32(64))] * 5
    rule = presets.ASSIGNMENT_RULES["torchvision"]._replace(ranges=ranges, location_offset=0)
    levels = pyramid_levels(sizes, strides=[np.int32(8)] * 5, image_size=(800, 1344), rule=rule)
    assert levels[3] == Level(13, 21, 61, 64, 8.0, 0.5, 64.0)
    assert [type(n) for level in levels for n in level] == ([int] * 4 + [float] * 3) * 5


def test_a_traced_size_is_refused_by_name():
    def height(x):
        return x * pyramid_levels([x.shape] * 5)[0].height

    message = r"sizes\[0\]\[0\] must be an int, got .* plain number, .* torch.export, "
    with pytest.raises(TypeError, match=message):
        torch.jit.trace(height, torch.ones(4, 4))
    with pytest.raises(TypeError, match="must be an int, got torch.int64 tensor of shape .*cpu$"):
        pyramid_levels([(torch.tensor(1), 1)] * 5)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("rule", ["improved", "torchvision"])
def test_sizes_of_an_exported_program_have_no_limits(rule, strict):
    class Strides(torch.nn.Module):
        def forward(self, image, *maps):
            levels = pyramid_levels([m.shape for m in maps], image_size=image.shape, rule=rule)
            return [m * level.stride_y for m, level in zip(maps, levels, strict=True)]

    maps = [torch.ones(100 >> i, 168 >> i) for i in range(5)]
    names = [(f"h{i}", f"w{i}") for i in range(6)]
    shapes = [{i: torch.export.Dim(name) for i, name in enumerate(pair)} for pair in names]
    program = torch.export.export(
        Strides(),
        (torch.ones(800, 1344), *maps),
        dynamic_shapes=(shapes[0], tuple(shapes[1:])),
        strict=strict,
    )
    found = program.module()(torch.ones(960, 1500), *maps)
    expected = 9 if rule == "torchvision" else 8
    assert torch.equal(found[0], maps[0] * expected)


def test_levels_without_cells():
    assert pyramid_levels([(0, 0)] * 5, image_size=(0, 0), rule="torchvision")[0].stride_y == 8


def test_presets_have_the_published_values():
    rules = presets.ASSIGNMENT_RULES
    assert list(rules) == list(presets.POSTPROCESS_RULES)
    assert [rules[name].center_radius for name in rules] == [0.0, 1.5, 1.5, 1.5, 0.0]
    assert [rules[name].location_offset for name in rules] == [0.5, 0.5, 0.0, 0.5, 0.5]
    assert [rules[name].normalize_ltrb for name in rules] == [False, True, True, True, False]
    assert [name for name in rules if rules[name].derived_strides] == ["torchvision"]
    posts = presets.POSTPROCESS_RULES.values()
    assert [post.score_threshold for post in posts] == [0.05, 0.05, 0.2, 0.2, 0.05]
    assert [post.iou_threshold for post in posts] == [0.6, 0.6, 0.6, 0.6, 0.5]


def test_resolve():
    improved = presets.ASSIGNMENT_RULES["improved"]
    assert presets.resolve_assignment_rule("improved") is improved
    assert presets.resolve_assignment_rule(improved) == improved
    with pytest.raises(ValueError, match="center_region must be .*clipped', 'chebyshev'.*'round'"):
        presets.resolve_assignment_rule(improved._replace(center_region="round"))
    with pytest.raises(ValueError, match="area_rule"):
        presets.resolve_assignment_rule(improved._replace(area_rule="largest"))
    with pytest.raises(TypeError, match="AssignmentRule"):
        presets.resolve_assignment_rule(presets.POSTPROCESS_RULES["paper"])

    paper = presets.POSTPROCESS_RULES["paper"]
    assert presets.resolve_postprocess_rule(paper) == paper
    for field, value in {
        "threshold_on": "both",
        "rank_by": "area",
        "score": "sum",
        "clip": "never",
        "iou_threshold": 1.5,
        "candidates_per_level": -1,
        "max_detections": -1,
    }.items():
        with pytest.raises(ValueError, match=field):
            presets.resolve_postprocess_rule(paper._replace(**{field: value}))
    with pytest.raises(ValueError, match="rule must be the name of a preset.*got 'fcos'"):
        presets.resolve_postprocess_rule("fcos")
    with pytest.raises(TypeError, match="PostprocessRule"):
        presets.resolve_postprocess_rule(improved)


RULES = {
    "assignment": (presets.ASSIGNMENT_RULES["paper"], presets.resolve_assignment_rule),
    "postprocess": (presets.POSTPROCESS_RULES["paper"], presets.resolve_postprocess_rule),
    "loss": (presets.LOSS_RULES["paper"], lambda rule: presets.resolve_loss_rule(rule, "paper")),
}


@pytest.mark.parametrize("name", RULES)
def test_every_field_is_checked(name):
    """But for ranges, which `pyramid_levels` checks; one field may be None."""
    rule, resolve = RULES[name]
    argument = "loss" if name == "loss" else "rule"
    for field in set(rule._fields) - {"ranges"}:
        for value in (object(), None, torch.tensor(1)):
            if value is not None or field != "max_detections_per_class":
                with pytest.raises(TypeError, match=rf"^{argument}\.{field} must be "):
                    resolve(rule._replace(**{field: value}))


def test_head_convention_follows_the_preset_unless_told():
    convention = presets.resolve_head_convention
    assert convention("torchvision", None, None) == (True, 0.0)
    assert convention("paper", None, None) == (False, 0.5)
    assert convention("paper", True, 0.0) == (True, 0.0)
    assert convention(presets.POSTPROCESS_RULES["paper"], None, None) == (True, 0.5)


def test_symbolic_sizes_compile():
    def count(x: torch.Tensor) -> torch.Tensor:
        rule = presets.resolve_assignment_rule("torchvision")._replace(ranges=((0.0, 64.0),))
        (level,) = pyramid_levels(
            [x.shape], strides=(8,), image_size=(x.shape[0] * 8, x.shape[1] * 8), rule=rule
        )
        return x.new_full((level.height, level.width), level.scale) * level.stride_x

    compiled = torch.compile(count, fullgraph=True, dynamic=True, backend="aot_eager")
    for size in ((3, 5), (7, 4)):
        assert torch.equal(compiled(torch.zeros(size)), torch.full(size, 64.0))
