import math

import numpy as np
import pytest
import torch

from fcos_ops.reference import batched_nms, nms, nms_padded

NAN, INF = math.nan, math.inf


def run(boxes, scores, threshold, dtype=torch.float32):
    return nms(torch.tensor(boxes, dtype=dtype), torch.tensor(scores), threshold).tolist()


def test_a_suppressed_box_suppresses_nothing():
    # Steps of 1 in boxes of width 4: IoU of neighbours 3/5, of the next but one 2/6.
    boxes = [(x, 0, x + 4, 1) for x in (0, 1, 2, 3)]
    assert run(boxes, [0.9, 0.8, 0.7, 0.6], 0.5) == [0, 2]
    assert run(boxes, [0.6, 0.9, 0.7, 0.8], 0.5) == [1, 3]
    assert run(boxes, [0.9, 0.8, 0.7, 0.6], 0.3) == [0, 3]


def test_long_chain():
    boxes = [(x, 0, x + 4, 1) for x in range(1000)]
    scores = torch.linspace(1, 0, 1000).tolist()
    assert run(boxes, scores, 0.3) == list(range(0, 1000, 3))
    assert run(boxes[::-1], scores[::-1], 0.3) == list(range(999, -1, -3))


def test_ties_go_by_index():
    boxes = [(0, 0, 2, 2), (0, 0, 2, 2), (5, 5, 6, 6), (0, 0, 2, 2)]
    assert run(boxes, [0.5, 0.5, 0.5, 0.9], 0.5) == [3, 2]
    assert run(boxes, [0.5, 0.5, 0.5, 0.5], 0.5) == [0, 2]
    many = [(i, 0, i + 1, 1) for i in range(100)]
    assert run(many, [0.25] * 100, 0.5) == list(range(100))


def test_overlap_at_the_threshold_is_kept():
    half = [(0, 0, 3, 1), (1, 0, 4, 1)]  # I = 2, U = 4
    assert run(half, [0.9, 0.8], 0.5) == [0, 1]
    assert run(half, [0.9, 0.8], 0.4999) == [0]
    three_fifths = [(0, 0, 4, 1), (1, 0, 5, 1)]  # I = 3, U = 5; 0.6 * 5 rounds to 3 in both types
    for dtype in (torch.float32, torch.float64):
        assert run(three_fifths, [0.9, 0.8], 0.6, dtype) == [0, 1]
    # 1/10: float32(0.1) is above 1/10, yet times 10 it rounds to 1.
    tenth = [(0, 0, 1, 1), (0, 0, 10, 1)]
    assert run(tenth, [0.9, 0.8], 0.1) == [0, 1]


def test_limits_of_the_threshold():
    boxes = [(0, 0, 4, 4), (0, 0, 4, 4), (3, 3, 8, 8), (4, 0, 8, 3)]
    scores = [0.9, 0.8, 0.7, 0.6]
    assert run(boxes, scores, 1.0) == [0, 1, 2, 3]
    assert run(boxes, scores, 0.0) == [0, 3]  # touching boxes do not overlap


def test_boxes_without_area():
    point, line, inverted = (1, 1, 1, 1), (0, 1, 4, 1), (3, 3, 1, 1)
    boxes = [(0, 0, 4, 4), point, point, line, inverted, inverted]
    assert run(boxes, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], 0.0) == [0, 1, 2, 3, 4, 5]


def test_an_inverted_box_has_no_negative_area():
    # -100 * 1 and 100 * -1: with such an area the union would be negative, and 0 > 0.5 * union.
    boxes = [(100, 0, 0, 1), (0, 0, 4, 4), (0, 1, 100, 0), (0, 0, 3, 1)]
    assert run(boxes, [0.9, 0.8, 0.7, 0.6], 0.5) == [0, 1, 2, 3]


def test_nan_is_never_kept_and_suppresses_nothing():
    box = (0, 0, 4, 4)
    assert run([box, box], [NAN, 0.1], 0.5) == [1]
    assert run([(0, NAN, 4, 4), box, (0, 0, 4, NAN)], [0.9, 0.1, 0.8], 0.5) == [1]
    assert run([box], [NAN], 0.5) == []
    assert run([box, (9, 9, 10, 10), box], [-INF, INF, -0.5], 0.5) == [1, 2]


def test_empty():
    keep = nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert keep.shape == (0,) and keep.dtype == torch.int64
    none = torch.zeros(0, dtype=torch.int64)
    assert batched_nms(torch.zeros(0, 4), torch.zeros(0), none, 0.5).shape == (0,)


def test_batched_compares_ids_and_nothing_else():
    boxes = torch.tensor([[0.0, 0, 4, 4]]).repeat(6, 1)
    scores = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    ids = torch.tensor([7, -(2**63), 2**63 - 1, 7, -(2**63), 0])
    assert batched_nms(boxes, scores, ids, 0.5).tolist() == [5, 4, 3, 2]
    ids = torch.tensor([7, -(2**31), 2**31 - 1, 7, 0, 0], dtype=torch.int32)
    assert batched_nms(boxes * 1e6, scores, ids, 0.5).tolist() == [5, 3, 2, 1]


def scalar_nms(boxes, scores, ids, threshold):
    """Greedy NMS, one pair at a time, each operation rounded to float32."""
    boxes, threshold = boxes.numpy().astype(np.float32), np.float32(threshold)
    keep = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        for j in keep:
            a, b = boxes[j], boxes[i]
            zero = np.float32(0)
            w = max(min(a[2], b[2]) - max(a[0], b[0]), zero)
            h = max(min(a[3], b[3]) - max(a[1], b[1]), zero)
            area = [max(c[2] - c[0], zero) * max(c[3] - c[1], zero) for c in (a, b)]
            if ids[i] == ids[j] and w * h > threshold * (area[0] + area[1] - w * h):
                break
        else:
            keep.append(i)
    return keep


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.6, 1.0])
def test_against_one_pair_at_a_time(threshold):
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(80, 2, generator=generator) * 20
    boxes = torch.cat([corner, corner + torch.rand(80, 2, generator=generator) * 15], 1)
    boxes[40:] = boxes[40:].round()  # many IoUs that are equal to the threshold
    scores = (torch.rand(80, generator=generator) * 20).round() / 20  # many ties
    ids = torch.randint(-1, 2, (80,), generator=generator)
    alone, together = torch.zeros(80), scalar_nms(boxes, scores.tolist(), ids.tolist(), threshold)
    assert batched_nms(boxes, scores, ids, threshold).tolist() == together
    expected = scalar_nms(boxes, scores.tolist(), alone.tolist(), threshold)
    assert nms(boxes, scores, threshold).tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_boxes_are_compared_in_float32(dtype):
    # I = 300 * 300 overflows float16; IoU = 1
    boxes = torch.tensor([[0, 0, 300, 300], [0, 0, 300, 300]], dtype=dtype)
    assert nms(boxes, torch.tensor([0.5, 0.75], dtype=dtype), 0.5).tolist() == [1]


def padded(boxes, scores, classes, offsets, **options):
    options = {"iou_threshold": 0.5, "score_threshold": None, "max_detections": 3} | options
    classes = None if classes is None else torch.tensor(classes)
    keep, count = nms_padded(
        torch.tensor(boxes).reshape(-1, 4),
        torch.tensor(scores),
        classes,
        torch.tensor(offsets),
        **options,
    )
    assert keep.dtype == count.dtype == torch.int64
    return keep.tolist(), count.tolist()


def test_padded_keeps_images_and_classes_apart():
    box = (0.0, 0.0, 4.0, 4.0)
    scores = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    keep, count = padded([box] * 6, scores, [0, 0, 1, 0, 0, 1], [0, 2, 2, 6])
    assert keep == [[1, -1, -1], [-1, -1, -1], [5, 4, -1]]
    assert count == [1, 0, 2]
    keep, count = padded([box] * 6, scores, None, [0, 2, 2, 6])
    assert keep == [[1, -1, -1], [-1, -1, -1], [5, -1, -1]]
    assert count == [1, 0, 1]


def test_padded_cuts_after_suppression():
    boxes = [
        (0.0, 0.0, 4.0, 4.0),
        (0.0, 0.0, 4.0, 4.0),
        *[(9.0 * i, 9, 9 * i + 1, 10) for i in range(4)],
    ]
    keep, count = padded(boxes, [0.9, 0.8, 0.1, 0.2, 0.3, 0.3], None, [0, 6])
    assert (keep, count) == ([[0, 4, 5]], [3])
    keep, count = padded(boxes, [0.9, 0.8, 0.1, 0.2, 0.3, 0.3], None, [0, 6], max_detections=0)
    assert (keep, count) == ([[]], [0])


def test_padded_score_at_the_threshold_is_left_out():
    boxes = [(9.0 * i, 0.0, 9 * i + 1.0, 1.0) for i in range(4)]
    keep, count = padded(boxes, [0.05, 0.06, NAN, INF], None, [0, 4], score_threshold=0.05)
    assert (keep, count) == ([[3, 1, -1]], [2])
    keep, count = padded(boxes, [-1.0, -INF, NAN, 0.0], None, [0, 4])
    assert (keep, count) == ([[3, 0, 1]], [3])


def test_padded_rows_outside_the_offsets_belong_to_no_image():
    boxes = [(9.0 * i, 0.0, 9 * i + 1.0, 1.0) for i in range(4)]
    keep, count = padded(boxes, [0.1, 0.2, 0.3, 0.4], None, [1, 2, 3])
    assert (keep, count) == ([[1, -1, -1], [2, -1, -1]], [1, 1])


def test_padded_empty():
    assert padded([], [], None, [0]) == ([], [])
    assert padded([], [], None, [0, 0, 0]) == ([[-1] * 3] * 2, [0, 0])


def test_padded_equals_batched_for_each_image():
    generator = torch.Generator().manual_seed(2)
    corner = torch.rand(90, 2, generator=generator) * 20
    boxes = torch.cat([corner, corner + torch.rand(90, 2, generator=generator) * 15], 1)
    scores = (torch.rand(90, generator=generator) * 20).round() / 20
    classes = torch.randint(0, 4, (90,), generator=generator)
    offsets = [0, 25, 25, 60, 90]
    keep, count = nms_padded(
        boxes,
        scores,
        classes,
        torch.tensor(offsets),
        iou_threshold=0.4,
        score_threshold=None,
        max_detections=12,
    )
    for image in range(4):
        part = slice(offsets[image], offsets[image + 1])
        expected = batched_nms(boxes[part], scores[part], classes[part], 0.4) + offsets[image]
        kept = keep[image, : count[image]]
        assert kept.tolist() == expected[:12].tolist()
        assert (keep[image, count[image] :] == -1).all()
