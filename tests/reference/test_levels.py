import math

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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": SIZES[:3]}, "3 sizes, 5 strides and 5 ranges"),
        ({"sizes": SIZES[:4] + [(7, 11, 3)]}, r"sizes\[4\]"),
        ({"sizes": SIZES[:4] + [(7, -1)]}, r"sizes\[4\]"),
        ({"sizes": SIZES, "strides": (8, 16, 0, 64, 128)}, r"strides\[2\]"),
        ({"sizes": SIZES, "image_size": (800,)}, "image_size"),
        ({"sizes": SIZES, "rule": "fcos"}, "paper, improved, torchvision, detectron2, mmdet"),
    ],
)
def test_errors_name_the_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        pyramid_levels(**arguments)


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
    assert presets.resolve_assignment_rule(improved) is improved
    with pytest.raises(ValueError, match="center_region.*clipped, chebyshev.*'round'"):
        presets.resolve_assignment_rule(improved._replace(center_region="round"))
    with pytest.raises(ValueError, match="area_rule"):
        presets.resolve_assignment_rule(improved._replace(area_rule="largest"))
    with pytest.raises(TypeError, match="AssignmentRule"):
        presets.resolve_assignment_rule(presets.POSTPROCESS_RULES["paper"])

    paper = presets.POSTPROCESS_RULES["paper"]
    assert presets.resolve_postprocess_rule(paper) is paper
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
    with pytest.raises(ValueError, match="unknown preset 'fcos'"):
        presets.resolve_postprocess_rule("fcos")
    with pytest.raises(TypeError, match="PostprocessRule"):
        presets.resolve_postprocess_rule(improved)


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
