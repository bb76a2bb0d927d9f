import itertools
import math

import pytest
import torch

from fcos_ops.levels import Level, pyramid_levels
from fcos_ops.presets import POSTPROCESS_RULES, PostprocessRule
from fcos_ops.reference import nms, postprocess

ANY = PostprocessRule("class", "score", "sqrt", 0.0, 100, 1.0, 10, "before_nms", False)
LN3 = math.log(3)


def single(
    cls_logits, ltrb, centerness, rule, *, size=(100, 100), original=None, stride=8, **options
):
    """One image, one level: cls_logits [H][W][C], ltrb [H][W][4], centerness [H][W]."""
    cls_logits = torch.tensor(cls_logits).permute(2, 0, 1)[None]
    ltrb = torch.tensor(ltrb, dtype=torch.float32).permute(2, 0, 1)[None]
    centerness = torch.tensor(centerness)[None, None]
    height, width = centerness.shape[2:]
    level = Level(height, width, stride, stride, float(stride), 0.0, math.inf)
    return postprocess(
        [cls_logits],
        [ltrb],
        [centerness],
        torch.tensor([size]),
        levels=(level,),
        original_sizes=None if original is None else torch.tensor([original]),
        rule=rule,
        **options,
    )


def scores_of(detections):
    return detections.scores[0, : detections.count[0]].tolist()


def labels_of(detections):
    return detections.labels[0, : detections.count[0]].tolist()


UNIT = [[[1, 1, 1, 1]]]


def test_scores():
    # sigmoid(log 3) = 3/4 and sigmoid(0) = 1/2, centerness 3/4: products 9/16 and 3/8
    logits = [[[LN3, 0.0]]]
    found = single(logits, UNIT, [[LN3]], ANY)
    torch.testing.assert_close(scores_of(found), [3 / 4, math.sqrt(3 / 8)], rtol=1e-6, atol=0)
    assert labels_of(found) == [0, 1]
    found = single(logits, UNIT, [[LN3]], ANY._replace(score="product"))
    torch.testing.assert_close(scores_of(found), [9 / 16, 3 / 8], rtol=1e-6, atol=0)


def test_decoding():
    ltrb = [[[0.5, 1, 1.5, 2], [1, 1, 1, 1]]]
    logits, centerness = [[[0.0], [-1.0]]], [[0.0, 0.0]]
    # locations (4, 4) and (12, 4); distances times 8
    found = single(logits, ltrb, centerness, ANY._replace(clip="after_nms"))
    assert found.boxes[0, :2].tolist() == [[0, 0, 16, 20], [4, 0, 20, 12]]
    options = {"normalized": False, "location_offset": 0.0, "size": (3, 7)}
    found = single(logits, [[[1, 2, 3, 4], [-1, 0, -5, 9]]], centerness, ANY, **options)
    # locations (0, 0) and (8, 0): (-1, -2, 3, 4) and (9, 0, 3, 9), clipped to width 7, height 3
    assert found.boxes[0, :2].tolist() == [[0, 0, 3, 3], [7, 0, 3, 3]]


def test_head_convention_of_a_preset_name():
    args = [[[2.0]]], [[[1, 1, 1, 1]]], [[2.0]]
    assert single(*args, "improved").boxes[0, 0].tolist() == [0, 0, 12, 12]
    assert single(*args, "paper").boxes[0, 0].tolist() == [3, 3, 5, 5]
    assert single(*args, "torchvision").boxes[0, 0].tolist() == [0, 0, 8, 8]
    told = single(*args, "torchvision", location_offset=0.5, normalized=False)
    assert told.boxes[0, 0].tolist() == [3, 3, 5, 5]


def test_a_value_at_the_threshold_is_left_out():
    # Logits 0 give 1/2 exactly: class 1/2, sqrt(1/4) = 1/2, product 1/4.
    for rule in (
        ANY._replace(threshold_on="class", score_threshold=0.5),
        ANY._replace(threshold_on="score", score_threshold=0.5),
        ANY._replace(threshold_on="score", score="product", score_threshold=0.25),
    ):
        assert single([[[0.0]]], UNIT, [[0.0]], rule).count == 0
        below = rule._replace(score_threshold=rule.score_threshold - 1e-6)
        assert single([[[0.0]]], UNIT, [[0.0]], below).count == 1
    # Class 3/4 passes 0.6, the score sqrt(3/16) = 0.43 does not.
    rule = ANY._replace(score_threshold=0.6)
    assert single([[[LN3]]], UNIT, [[-LN3]], rule).count == 1
    assert single([[[LN3]]], UNIT, [[-LN3]], rule._replace(threshold_on="score")).count == 0


def test_the_key_of_the_top_k():
    # Class scores 3/4, 1/2, centerness 1/4, 3/4: scores rank the other way round.
    args = [[[LN3], [0.0]]], [[[1, 1, 1, 1]] * 2], [[-LN3, LN3]]
    one = ANY._replace(candidates_per_level=1)
    by_class = single(*args, one._replace(rank_by="class"))
    torch.testing.assert_close(scores_of(by_class), [math.sqrt(3 / 16)], rtol=1e-6, atol=0)
    by_score = single(*args, one._replace(rank_by="score"))
    torch.testing.assert_close(scores_of(by_score), [math.sqrt(3 / 8)], rtol=1e-6, atol=0)
    assert single(*args, one._replace(candidates_per_level=0)).count == 0


def test_ties_of_the_top_k_go_by_location_then_class():
    found = single(
        [[[0.0, 0.0]] * 3],
        [[[1, 1, 1, 1]] * 3],
        [[0.0] * 3],
        ANY._replace(candidates_per_level=3),
    )
    assert labels_of(found) == [0, 1, 0]
    assert found.boxes[0, :3, 2].tolist() == [12, 12, 20]


def test_many_ties():
    cells = [[1.0 / 8] * 4] * 400
    rule = ANY._replace(candidates_per_level=300, max_detections=200)
    found = single([[[0.0, 0.0]] * 400], [cells], [[0.0] * 400], rule, size=(99, 9999))
    assert labels_of(found) == [0, 1] * 100
    x = torch.arange(100).repeat_interleave(2) * 8.0 + 3
    assert torch.equal(found.boxes[0, :, 0], x)


def test_nms_is_per_class_and_ties_of_the_score_go_by_level():
    shapes = [(1, 1), (1, 1)]
    levels = [Level(1, 1, stride, stride, 8.0, 0.0, math.inf) for stride in (8, 16)]
    zeros = [[torch.zeros(1, c, *s) for s in shapes] for c in (2, 1)]
    zeros[0][1][0, 1] = 5.0  # the coarser level's class 1 is better
    ltrb = [torch.full((1, 4, 1, 1), 100.0)] * 2  # every box covers the image
    found = postprocess(
        zeros[0],
        ltrb,
        zeros[1],
        torch.tensor([[10, 20]]),
        levels=levels,
        rule=ANY._replace(iou_threshold=0.5),
    )
    assert found.boxes[0, :2].tolist() == [[0, 0, 20, 10]] * 2
    assert labels_of(found) == [1, 0]
    apart = postprocess(zeros[0], ltrb, zeros[1], torch.tensor([[10, 20]]), levels=levels, rule=ANY)
    # At 1/2: finer level class 0, class 1, then the coarser level's class 0.
    assert labels_of(apart) == [1, 0, 1, 0]


def test_clip_before_or_after_nms():
    # Locations (4, 4) and (12, 4): (0, 0, 8, 8) and (-8, 0, 16, 8), of IoU 1/3; clipped to width 8
    # they are equal.
    ltrb = [[[0.5, 0.5, 0.5, 0.5], [2.5, 0.5, 0.5, 0.5]]]
    args = [[[LN3], [0.0]]], ltrb, [[0.0, 0.0]]
    rule = ANY._replace(iou_threshold=0.6)
    assert single(*args, rule, size=(8, 8)).count == 1
    found = single(*args, rule._replace(clip="after_nms"), size=(8, 8))
    assert found.boxes[0, :3].tolist() == [[0, 0, 8, 8], [0, 0, 8, 8], [0, 0, 0, 0]]


def test_boxes_in_pixels_of_the_original():
    # Locations (4, 4) and (12, 4): boxes (0, 0, 8, 8), (8, 2, 16, 6) in an image of 20 by 10.
    ltrb = [[[0.5, 0.5, 0.5, 0.5], [0.5, 0.25, 0.5, 0.25]]]
    args = [[[LN3], [0.0]]], ltrb, [[0.0, 0.0]]
    found = single(*args, ANY, size=(10, 20), original=(30, 10))
    assert found.boxes[0, :2].tolist() == [[0, 0, 4, 24], [4, 6, 8, 18]]
    # 1200 * (640 / 1200) is above 640 in float32.
    wide = [[[0.0]]], [[[0.0, 0.0, 200.0, 1.0]]], [[0.0]]
    found = single(*wide, ANY, size=(800, 1200), original=(480, 640))
    assert found.boxes[0, 0, 2] == 640
    nothing = single(*args, ANY, size=(0, 20), original=(30, 10))
    assert nothing.boxes[0, :2].tolist() == [[0, 0, 4, 0], [4, 0, 8, 0]]


def test_class_agnostic_nms():
    # Three equal boxes of classes 0, 1, 1, best first.
    args = (
        [[[LN3, 0.0], [-9.0, -1.0]]],
        [[[1.0, 0.5, 0.0, 0.5], [2.0, 0.5, -1.0, 0.5]]],
        [[0.0, 0.0]],
    )
    rule = ANY._replace(iou_threshold=0.5, score_threshold=0.1)
    assert labels_of(single(*args, rule)) == [0, 1]
    assert labels_of(single(*args, rule._replace(class_agnostic=True))) == [0]


def test_limit_on_each_class():
    # Seven boxes apart, by falling score: classes 0 0 1 0 1 1 1.
    logits = [[[6.0 - i, -9.0] if i in (0, 1, 3) else [-9.0, 6.0 - i] for i in range(7)]]
    args = logits, [[[0.25] * 4] * 7], [[0.0] * 7]
    rule = ANY._replace(iou_threshold=0.5, score_threshold=0.05, max_detections=4)
    assert labels_of(single(*args, rule)) == [0, 0, 1, 0]
    limits = {0: [], 1: [0, 1], 2: [0, 0, 1, 1], 3: [0, 0, 1, 0], 4: [0, 0, 1, 0]}
    for limit, labels in limits.items():
        found = single(*args, rule._replace(max_detections_per_class=limit))
        assert labels_of(found) == labels


def test_what_a_class_has_no_room_for_suppresses_all_the_same():
    # Classes 0 0 1 by falling score; the second and third box are equal.
    ltrb = [[[0.25] * 4, [0.25] * 4, [1.25, 0.25, -0.75, 0.25]]]
    args = [[[2.0, -9.0], [1.0, -9.0], [-9.0, 0.0]]], ltrb, [[0.0] * 3]
    rule = ANY._replace(score_threshold=0.1, iou_threshold=0.5, max_detections_per_class=1)
    assert labels_of(single(*args, rule)) == [0, 1]
    assert labels_of(single(*args, rule._replace(class_agnostic=True))) == [0]


def test_empty_boxes_are_dropped_on_request():
    # Locations (4, 4), (12, 4), (20, 4) in an image of width 8: the second and third lie outside.
    logits, centerness = [[[0.0], [LN3], [LN3]]], [[0.0] * 3]
    ltrb = [[[0.5, 0.5, 0.5, 0.5]] * 3]
    rule = ANY._replace(max_detections=2)
    options = {"size": (8, 8)}
    assert single(logits, ltrb, centerness, rule, **options).count == 2
    dropped = single(logits, ltrb, centerness, rule._replace(drop_empty=True), **options)
    assert dropped.count == 1
    assert dropped.boxes[0].tolist() == [[0, 0, 8, 8], [0, 0, 0, 0]]
    # After the cut to two detections both are found empty.
    after = rule._replace(drop_empty=True, clip="after_nms")
    found = single(logits, ltrb, centerness, after, **options)
    assert found.count == 0 and (found.labels == -1).all() and (found.scores == 0).all()
    found = single(logits, ltrb, centerness, after._replace(max_detections=3), **options)
    assert found.count == 1
    assert found.boxes[0].tolist() == [[0, 0, 8, 8], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert found.labels[0].tolist() == [0, -1, -1]
    torch.testing.assert_close(found.scores[0], torch.tensor([0.5, 0, 0]))


def test_nan_outputs_are_no_detections():
    nan, rule = math.nan, ANY._replace(score_threshold=-1.0)
    ones = [[[1, 1, 1, 1]] * 4]
    for name in ("threshold_on", "rank_by"):
        for value in ("class", "score"):
            changed = rule._replace(**{name: value})
            found = single([[[nan], [0.0], [0.0], [-1.0]]], ones, [[0.0, nan, 0.0, 0.0]], changed)
            assert found.count == 2
            found = single([[[0.0]] * 4], [[[1, nan, 1, 1]] + ones[0][1:]], [[0.0] * 4], changed)
            assert found.count == 3


def test_nan_scores_take_no_place_in_the_top_k():
    rule = ANY._replace(rank_by="class", candidates_per_level=1)
    found = single([[[1.0], [0.0]]], [[[1, 1, 1, 1]] * 2], [[math.nan, 0.0]], rule)
    assert scores_of(found) == [0.5]


def test_padding_and_empty_batches():
    levels = (Level(2, 2, 8, 8, 8.0, 0.0, 64.0), Level(0, 1, 16, 16, 16.0, 64.0, 128.0))
    for batch in (0, 2):
        heads = [[torch.zeros(batch, c, v.height, v.width) for v in levels] for c in (3, 4, 1)]
        for name, rule in POSTPROCESS_RULES.items():
            rule = rule._replace(score_threshold=0.9)
            found = postprocess(*heads, torch.full((batch, 2), 16), levels=levels, rule=rule)
            assert found.boxes.shape == (batch, 100, 4), name
            assert found.scores.shape == found.labels.shape == (batch, 100)
            assert found.count.tolist() == [0] * batch
            assert (found.boxes == 0).all() and (found.labels == -1).all()
    no_classes = [[torch.zeros(1, c, 2, 2)] for c in (0, 4, 1)]
    assert postprocess(*no_classes, torch.tensor([[9, 9]]), levels=levels[:1]).count == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_computed_in_float32_or_float64(dtype):
    heads = [[torch.ones(1, c, 3, 3, dtype=dtype)] for c in (2, 4, 1)]
    level = (Level(3, 3, 1024, 1024, 1024.0, 0.0, math.inf),)  # 2560 + 1024 needs 12 bits
    found = postprocess(*heads, torch.tensor([[9999, 9999]]), levels=level)
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    assert (found.boxes.dtype, found.scores.dtype) == (wanted, wanted)
    assert found.boxes[0, :, 2].max() == 2560 + 1024
    expected = torch.ones((), dtype=wanted).sigmoid()
    torch.testing.assert_close(found.scores[0, 0], expected, rtol=1e-6, atol=0)


def one_image(heads, size, levels, rule):
    """The rule written out for one image: (score, label, box) by falling score."""
    candidates = []
    for cls_logits, ltrb, centerness, level in zip(*heads, levels, strict=True):
        found = []
        for row, column in itertools.product(range(level.height), range(level.width)):
            for label in range(cls_logits.shape[0]):
                p = cls_logits[label, row, column].sigmoid()
                score = p * centerness[0, row, column].sigmoid()
                score = score.sqrt() if rule.score == "sqrt" else score
                if (p if rule.threshold_on == "class" else score) > rule.score_threshold:
                    side = ltrb[:, row, column] * level.scale
                    x, y = (column + 0.5) * level.stride_x, (row + 0.5) * level.stride_y
                    box = [x - side[0], y - side[1], x + side[2], y + side[3]]
                    key = p if rule.rank_by == "class" else score
                    found.append((-key.item(), score, label, torch.stack(box)))
        found.sort(key=lambda item: item[0])
        candidates += [item[1:] for item in found[: rule.candidates_per_level]]

    def clip(box):
        return torch.minimum(box.clamp(min=0), size.flip(0).repeat(2))

    def has_area(item):
        return not rule.drop_empty or ((item[2][2:] - item[2][:2]) > 0).all()

    if rule.clip == "before_nms":
        candidates = [(score, label, clip(box)) for score, label, box in candidates]
        candidates = [item for item in candidates if has_area(item)]
    kept = []
    for label in {item[1] for item in candidates}:
        index = [i for i, item in enumerate(candidates) if item[1] == label]
        boxes = torch.stack([candidates[i][2] for i in index])
        scores = torch.stack([candidates[i][0] for i in index])
        kept += [index[i] for i in nms(boxes, scores, rule.iou_threshold)]
    kept.sort(key=lambda i: (-candidates[i][0].item(), i))
    kept = [candidates[i] for i in kept[: rule.max_detections]]
    if rule.clip == "after_nms":
        kept = [(score, label, clip(box)) for score, label, box in kept]
    return [item for item in kept if has_area(item)]


@pytest.mark.parametrize("name", POSTPROCESS_RULES)
def test_against_one_candidate_at_a_time(name):
    rule = POSTPROCESS_RULES[name]._replace(candidates_per_level=30, max_detections=25)
    generator = torch.Generator().manual_seed(4)
    levels = pyramid_levels([(5, 7), (3, 4), (2, 2), (1, 1), (1, 1)])
    cls_logits, ltrb, centerness = (
        [torch.randn(3, c, v.height, v.width, generator=generator).double() for v in levels]
        for c in (4, 4, 1)
    )
    ltrb = [(t + 1).relu() for t in ltrb]
    cls_logits[0][2] = -9.0  # nothing to find on the finest level of the last image
    sizes = torch.tensor([[40, 56], [33, 50], [20, 20]])
    found = postprocess(
        cls_logits,
        ltrb,
        centerness,
        sizes,
        levels=levels,
        rule=rule,
    )
    for image in range(3):
        heads = [[t[image] for t in head] for head in (cls_logits, ltrb, centerness)]
        expected = one_image(heads, sizes[image], levels, rule)
        count = found.count[image].item()
        assert count == len(expected) > 0
        assert found.labels[image, :count].tolist() == [label for _, label, _ in expected]
        scores = torch.stack([score for score, _, _ in expected])
        boxes = torch.stack([box for _, _, box in expected])
        torch.testing.assert_close(found.scores[image, :count], scores)
        torch.testing.assert_close(found.boxes[image, :count], boxes)
        assert (found.labels[image, count:] == -1).all()
        assert (found.boxes[image, count:] == 0).all()
