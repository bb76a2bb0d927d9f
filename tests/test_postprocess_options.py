"""What postprocess can do on request: boxes in pixels of the original image, suppression across
classes, a limit on each class, classes that may be detected."""

import math

import pytest
import torch

import fcos_ops
from fcos_ops import reference
from tests.inputs.postprocess import (
    ALL,
    SIZES,
    assert_equal,
    assert_near,
    detect,
    image_sizes,
    levels_of,
    make_heads,
    reference_of,
    to,
)

CROWDED = ALL._replace(
    score_threshold=0.3, iou_threshold=0.5, max_detections=100, clip="before_nms"
)
# One detection of each class of each location, however many: a GPU's block takes 512 at a time.
MANY = ALL._replace(iou_threshold=1.0, max_detections=1500)


# Larger and smaller, of other aspects, and such that 102 * (480 / 102) is above 480 in float32.
RESIZED = ((100, 102), (95, 139))
ORIGINAL = ((480, 480), (66, 43))


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("clip", ["before_nms", "after_nms"])
def test_boxes_in_pixels_of_the_original(clip: str, dtype: torch.dtype) -> None:
    heads = to(make_heads(2, 5), dtype)
    resized, original = torch.tensor(RESIZED), torch.tensor(ORIGINAL)
    rule = CROWDED._replace(clip=clip, drop_empty=True)
    found = detect(heads, rule, sizes=resized, original_sizes=original)
    plain = detect(heads, rule, sizes=resized)
    assert plain.count.min() > 50
    ratio = (original.to(dtype) / resized.to(dtype)).flip(1).repeat(1, 2)[:, None]
    limit = original.flip(1).repeat(1, 2)[:, None].to(dtype)
    if dtype == torch.float32:
        assert (plain.boxes * ratio > limit).any()
    assert_equal(found, plain._replace(boxes=torch.minimum(plain.boxes * ratio, limit)))
    assert (found.boxes == limit).any()  # what was clipped to the image ends at its border
    expected = reference.postprocess(
        *heads, resized, levels=levels_of(heads), original_sizes=original, rule=rule
    )
    assert_near(found, expected, 1e-6)


@pytest.mark.every_device
def test_integer_types_of_both_sizes() -> None:
    heads = to(make_heads(2, 3, SIZES[1:]), torch.float32)
    sizes, original = image_sizes(heads), image_sizes(heads) * 3
    expected = detect(heads, CROWDED, original_sizes=original)
    for one, other in ((torch.int32, torch.int32), (torch.int32, torch.int64), (torch.int16,) * 2):
        found = detect(heads, CROWDED, sizes=sizes.to(one), original_sizes=original.to(other))
        assert_equal(found, expected)
    huge = original.new_full((2, 2), 2**40)
    found = detect(heads, CROWDED, sizes=sizes.int(), original_sizes=huge)
    assert found.boxes.max() == 2**40
    strided = torch.stack([original, original], -1).flatten(1)[:, ::2]
    assert_equal(detect(heads, CROWDED, original_sizes=strided), expected)


@pytest.mark.every_device
def test_images_without_pixels() -> None:
    heads = to(make_heads(2, 3, SIZES[2:]), torch.float32)
    sizes = torch.tensor([[0, 40], [30, 40]])
    found = detect(heads, ALL, sizes=sizes, original_sizes=torch.tensor([[9, 80], [0, 0]]))
    assert found.count.min() > 0
    assert not found.boxes[0, :, 1::2].any() and found.boxes[0, :, 2].max() == 80
    assert not found.boxes[1].any()


@pytest.mark.every_device
@pytest.mark.parametrize("classes", [1, 7])
def test_suppression_across_classes(classes: int) -> None:
    heads = to(make_heads(2, classes), torch.float32)
    by_class = detect(heads, CROWDED)
    rule = CROWDED._replace(class_agnostic=True)
    found = detect(heads, rule)
    assert_near(found, reference_of(heads, rule), 1e-6)
    if classes == 1:
        assert_equal(found, by_class)
    else:
        count = found.count[0]
        boxes, scores = found.boxes[0, :count], found.scores[0, :count]
        assert len(fcos_ops.nms(boxes, scores, rule.iou_threshold)) == count
        assert found.labels[0].unique().numel() > 2
        assert not torch.equal(found.boxes, by_class.boxes)


@pytest.mark.every_device
@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("limit", [0, 1, 4, 99, 100])
def test_limit_on_each_class(limit: int, class_agnostic: bool) -> None:
    heads = to(make_heads(2, 6), torch.float32)
    for logits in heads[0]:
        logits[:, 2] += 5.0  # this class alone would fill the detections
    rule = CROWDED._replace(max_detections_per_class=limit, class_agnostic=class_agnostic)
    for clip, drop_empty in (("before_nms", True), ("after_nms", True), ("after_nms", False)):
        rule = rule._replace(clip=clip, drop_empty=drop_empty)
        found = detect(heads, rule)
        assert_near(found, reference_of(heads, rule), 1e-6)
        labels = found.labels[0, : found.count[0]]
        assert labels.bincount(minlength=1).max() <= limit
    if limit == 100:
        assert_equal(found, detect(heads, rule._replace(max_detections_per_class=None)))


@pytest.mark.every_device
def test_limit_on_each_class_of_many_detections() -> None:
    """More than a block takes at a time: the limits hold, and NMS goes on beyond them."""
    heads = to(make_heads(2, 4, [(20, 30), (3, 5)]), torch.float32)
    for limit in (3, 200, 400):
        rule = MANY._replace(max_detections_per_class=limit)
        found = detect(heads, rule)
        assert found.count.tolist() == [min(4 * limit, 1500)] * 2
        assert_near(found, reference_of(heads, rule), 1e-6)
    for logits, centerness in zip(heads[0], heads[2], strict=True):
        logits[:, 2] += 30.0  # its scores are the best
        centerness.zero_()
    rule = MANY._replace(max_detections=401, max_detections_per_class=400)
    assert detect(heads, rule).labels[0].bincount()[2] == 400


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_classes_that_may_be_detected(layout: torch.memory_format, dtype: torch.dtype) -> None:
    """The others take no place among the candidates of a level, and suppress nothing."""
    heads = to(to(make_heads(2, 9), dtype), memory_format=layout)
    for logits in heads[0]:
        logits[:, 3:5] += 5.0  # these alone would fill the candidates, and suppress the rest
    classes = torch.arange(9) % 4 != 3
    classes[4] = False
    by_score = CROWDED._replace(candidates_per_level=60, class_agnostic=True)
    by_class = by_score._replace(rank_by="class", threshold_on="score", score_threshold=-1.0)
    for rule in (by_score, by_class):
        others = torch.isin(detect(heads, rule).labels, torch.tensor([3, 4]))
        assert others.sum() > 20
        found = detect(heads, rule, classes=classes)
        tolerance = 1e-6 if dtype == torch.float32 else 1e-3
        assert_near(found, reference_of(heads, rule, classes=classes), tolerance)
        assert found.labels.unique().tolist() == [-1, 0, 1, 2, 5, 6, 8]
        without = [logits.masked_fill(~classes[:, None, None], -math.inf) for logits in heads[0]]
        if rule.score_threshold > 0:
            assert_equal(found, detect((without, *heads[1:]), rule))
        strided = torch.stack([classes, ~classes], 1)[:, 0]
        assert_equal(detect(heads, rule, classes=strided), found)
        assert_equal(detect(heads, rule, classes=classes | True), detect(heads, rule))
        assert not detect(heads, rule, classes=classes & False).count.any()
