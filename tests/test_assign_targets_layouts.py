"""assign_targets on boxes, labels and offsets of any layout, address and integer type."""

import pytest
import torch

import fcos_ops
from fcos_ops import reference
from tests.common import DTYPES
from tests.inputs.assign_targets import NAN, assert_same, check, levels_of, make_problem


@pytest.mark.every_device
def test_boxes_at_any_address() -> None:
    """Storage that is aligned to an element only."""
    boxes, labels, offsets = make_problem([300])
    for dtype in DTYPES:
        shifted = torch.empty(1201, dtype=dtype)[1:].view(300, 4).copy_(boxes)
        assert shifted.is_contiguous() and shifted.data_ptr() % 16 != 0
        check(levels_of("improved"), (shifted, labels, offsets), "improved")


@pytest.mark.every_device
def test_inputs_of_any_stride_and_integer_type() -> None:
    boxes, labels, offsets = make_problem([30, 20])
    expected = reference.assign_targets(levels_of("improved"), boxes, labels, offsets)
    wide = torch.full((50, 9), NAN)
    wide[:, 1:9:2] = boxes
    for strided in (wide[:, 1:9:2], boxes.t().contiguous().t(), boxes.flip(0).flip(0)):
        for integer in (torch.int32, torch.int64):
            twice = torch.stack([labels, -labels], 1).to(integer)[:, 0]
            targets = fcos_ops.assign_targets(
                levels_of("improved"), strided, twice, offsets.repeat_interleave(2).to(integer)[::2]
            )
            assert_same(targets, expected)
    one = boxes[:1].expand(50, 4)
    check(levels_of("improved"), (one, labels, offsets), "improved")
