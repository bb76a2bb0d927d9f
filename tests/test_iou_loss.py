"""iou_loss against the float64 reference, and as a citizen of torch."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import fcos_ops
from fcos_ops import reference
from tests.common import DTYPES, TOLERANCE, assert_near
from tests.test_memory import allocated_bytes

KINDS = ("iou", "linear_iou", "giou", "diou", "ciou")
FORMATS = ("xyxy", "ltrb")
SHAPES = [(0,), (1,), (7,), (9,), (257,), (2, 3, 2, 2)]  # around vector widths, blocks of 256


def make_pairs(shape: tuple[int, ...], box_format: str) -> tuple[Tensor, Tensor]:
    """Boxes of 1 to 100 pixels; the second of each pair near the first, or anywhere."""
    if box_format == "ltrb":
        return torch.rand(*shape, 4).double() * 20 + 1, torch.rand(*shape, 4).double() * 20 + 1
    corner, size = torch.rand(2, *shape, 2).double() * 100
    first = torch.cat([corner, corner + size + 1], -1)
    return first, first + torch.randn(*shape, 4).double() * 7


def loss_and_gradients(
    function: Any, pred: Tensor, target: Tensor, **options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    pred, target = pred.detach().requires_grad_(), target.detach().requires_grad_()
    loss = function(pred, target, **options)
    # As large as a loss scale: a float16 gradient would be subnormal without one.
    weights = torch.linspace(500, 2000, loss.numel(), dtype=torch.float64).reshape(loss.shape)
    gradients = torch.autograd.grad(loss, (pred, target), weights.to(loss.dtype))
    return loss.detach(), *gradients


def assert_matches_reference(pred: Tensor, target: Tensor, **options: Any) -> None:
    actual = loss_and_gradients(fcos_ops.iou_loss, pred, target, **options)
    exact = loss_and_gradients(reference.iou_loss, pred.double(), target.double(), **options)
    real = torch.float64 if torch.float64 in (pred.dtype, target.dtype) else torch.float32
    assert [a.dtype for a in actual] == [real, pred.dtype, target.dtype]
    for a, e, dtype in zip(actual, exact, (real, pred.dtype, target.dtype), strict=True):
        assert_near(a, e, real if dtype == torch.float64 else dtype)


@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_dtype_and_reduction(shape: tuple[int, ...], kind: str, box_format: str) -> None:
    pred, target = make_pairs(shape, box_format)
    weight, total = torch.rand(shape), torch.tensor(3)
    options = {"kind": kind, "box_format": box_format}
    for dtype in DTYPES:
        pair = pred.to(dtype), target.to(dtype)
        assert_matches_reference(*pair, **options, reduction="none", normalizer=7.0)
        assert_matches_reference(*pair, **options, reduction="mean", weight=weight)
        assert_matches_reference(*pair, **options, normalizer=total)


@pytest.mark.every_device
@pytest.mark.parametrize("count", [64 * 256, 64 * 256 + 1])
def test_many_boxes(count: int) -> None:
    """With and without a workspace: up to 64 blocks of boxes need none."""
    pred, target = (boxes.float() for boxes in make_pairs((count,), "xyxy"))
    assert_matches_reference(pred, target)


@pytest.mark.every_device
@pytest.mark.parametrize("count", [1, 127, 129, 1000])
def test_boxes_that_are_not_aligned(count: int) -> None:
    for offset in (1, 2, 4):
        pair = []
        for boxes in make_pairs((count,), "xyxy"):
            line = torch.cat([torch.zeros(offset), boxes.float().flatten()])
            pair.append(line[offset:].reshape(count, 4))
        assert_matches_reference(*pair)


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_dtypes(kind: str) -> None:
    pred, target = make_pairs((40,), "xyxy")
    for one, other in itertools.combinations(DTYPES, 2):
        for reduction in ("sum", "none"):
            assert_matches_reference(pred.to(one), target.to(other), kind=kind, reduction=reduction)


@pytest.mark.every_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_ties_and_degenerate_boxes(kind: str, dtype: torch.dtype) -> None:
    """Every pair of boxes on a grid of 4 x 2 points: shared edges, no width, inverted, disjoint."""
    x, y = (0.0, 1.0, 2.0, 4.0), (0.0, 1.0)
    boxes = list(itertools.product(x, y, x, y))
    pred, target = torch.tensor(list(itertools.product(boxes, boxes)), dtype=dtype).unbind(1)
    for box_format in FORMATS:
        results = []
        for function, real in ((fcos_ops.iou_loss, dtype), (reference.iou_loss, torch.float64)):
            pair = pred.to(real).requires_grad_(), target.to(real).requires_grad_()
            loss = function(*pair, kind=kind, box_format=box_format, reduction="none")
            results.append((loss[:, None], *torch.autograd.grad(loss.sum(), pair)))
        for actual, exact in zip(*results, strict=True):
            # By pair: the gradients of degenerate ones, of order 1 / eps, would hide the others.
            allowed = TOLERANCE[dtype] * (exact.norm(dim=1, keepdim=True) + 1)
            assert ((actual - exact).abs() <= allowed).all()


@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_finite_for_every_finite_box(kind: str, dtype: torch.dtype, box_format: str) -> None:
    largest = torch.finfo(dtype).max
    values = torch.tensor(
        [0, 1, 1e-3, 1e-22, 1e-41, -5, 3e4, 2.0**33, 1e30, -1e30, largest, -largest]
    )
    pred, target = values.to(dtype)[torch.randint(0, len(values), (2, 5000, 4))]
    turned_out = torch.tensor([[1e30, 1e30, 0, 0], [0, 0, -1e30, -1e30]], dtype=dtype)
    pred = torch.cat([pred, pred[:100], turned_out])
    target = torch.cat([target, pred[:100], turned_out.flip(0)])
    options = {"kind": kind, "box_format": box_format, "reduction": "none"}
    loss, *gradients = loss_and_gradients(fcos_ops.iou_loss, pred, target, **options)
    assert loss.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)
    if dtype == torch.float64:  # float32 has too few digits for a side of 1 at 1e9
        assert torch.allclose(loss, reference.iou_loss(pred, target, **options), rtol=1e-9)


@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_clamped_box_changes_no_other(kind: str, box_format: str) -> None:
    """A block with a coordinate beyond the limit takes another loop: same results, bit by bit."""
    options = {"kind": kind, "box_format": box_format, "reduction": "none"}

    def gradients(pred: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        pair = pred.clone().requires_grad_(), target.clone().requires_grad_()
        loss = fcos_ops.iou_loss(*pair, **options)
        return loss.detach(), *torch.autograd.grad(loss.sum(), pair)

    for dtype in (torch.float32, torch.float64):
        pred, target = (boxes.to(dtype) for boxes in make_pairs((251,), box_format))
        pred[:50, 0] = target[:50, 0]  # shared edges
        pred[60, 1] = pred[61, 2] = target[62, 0] = target[63, 3] = math.nan
        plain = gradients(pred, target)
        for coordinate in range(4):
            far = target[-1:].clone()
            far[0, coordinate ^ 1] = math.nan  # must not hide its neighbour
            far[0, coordinate] = 1e30
            results = gradients(torch.cat([pred, far]), torch.cat([target, target[-1:]]))
            for result, expected in zip(results, plain, strict=True):
                torch.testing.assert_close(result[:-1], expected, rtol=0, atol=0, equal_nan=True)
            assert results[1][-1].isnan().all()  # as of every pair with a NaN


@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_exact_for_identical_boxes_and_in_exchange(kind: str, box_format: str) -> None:
    options = {"kind": kind, "box_format": box_format, "reduction": "none"}
    for dtype in (torch.float32, torch.float64):
        pred, target = (boxes.to(dtype) for boxes in make_pairs((999,), box_format))
        loss, by_pred, by_target = loss_and_gradients(fcos_ops.iou_loss, pred, target, **options)
        swapped = loss_and_gradients(fcos_ops.iou_loss, target, pred, **options)
        assert torch.equal(loss, swapped[0])
        assert torch.equal(by_pred, swapped[2]) and torch.equal(by_target, swapped[1])
        same = fcos_ops.iou_loss(pred, pred, **options)
        # Up to the eps beside the area, of which float32 sees nothing.
        assert (same == 0).all() if dtype == torch.float32 else same.abs().max() < 1e-7


@pytest.mark.parametrize(
    "strided",
    [
        lambda x: x.permute(0, 2, 3, 1).contiguous(),
        lambda x: x.permute(0, 2, 3, 1),
        lambda x: x.permute(0, 2, 3, 1).contiguous()[:, ::2, 3:],
        lambda x: x.permute(0, 2, 3, 1).contiguous().flip(0).transpose(0, 2),
        lambda x: x[:1].permute(0, 2, 3, 1).expand(3, -1, -1, -1),
        lambda x: x.permute(3, 2, 0, 1)[..., None, :].expand(-1, -1, -1, 2, -1).transpose(0, 1),
        lambda x: x.permute(0, 2, 3, 1).reshape(-1, 4)[5, :],
        lambda x: x.permute(0, 2, 3, 1).reshape(-1, 4)[::2],
    ],
    ids=["rows", "nchw", "slice", "transpose", "expand", "5d", "one", "every_second"],
)
def test_strides(strided: Callable[[Tensor], Tensor]) -> None:
    pred, target = make_pairs((2, 5, 260), "ltrb")
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        p, t = (strided(x.permute(0, 3, 1, 2).contiguous().to(dtype)) for x in (pred, target))
        for pair in ((p, t), (p.contiguous(), t), (p, t.contiguous())):
            for reduction in ("sum", "none"):
                assert_matches_reference(*pair, box_format="ltrb", reduction=reduction)


def test_head_outputs_are_read_in_place() -> None:
    """ltrb [B, 4, H, W] as the head gives it costs its gradient and no copy."""
    output = torch.rand(2, 4, 90, 90, requires_grad=True)
    target = torch.rand(2, 4, 90, 90)
    size = output.numel() * output.element_size()

    def forward_backward() -> Tensor:
        pred = output.permute(0, 2, 3, 1)
        loss = fcos_ops.iou_loss(pred, target.permute(0, 2, 3, 1), box_format="ltrb")
        return torch.autograd.grad(loss, output)[0]

    assert forward_backward().stride() == output.stride()
    assert size <= allocated_bytes(forward_backward) <= size + 4096


def test_float16_gradient_survives_its_loss_scale() -> None:
    """Gradients below half's range come out right once the loss is scaled up."""
    pred, target = (boxes.half() for boxes in make_pairs((64,), "ltrb"))
    for boxes, other in ((pred, target), (target.clone(), pred.float())):
        boxes.requires_grad_()
        exact = boxes.detach().double().requires_grad_()
        for function, x in ((fcos_ops.iou_loss, boxes), (reference.iou_loss, exact)):
            loss = function(x, other.to(x.dtype), box_format="ltrb", normalizer=1e7) * 2.0**22
            loss.backward()
        assert exact.grad.abs().max() / 2.0**22 < 6e-8  # the smallest subnormal half
        assert_near(boxes.grad, exact.grad, torch.float16)


@pytest.mark.every_device
@pytest.mark.parametrize("box_format", ["xyxy", "ltrb"])
@pytest.mark.parametrize("kind", KINDS)
def test_nan_stays_in_its_pair(kind: str, box_format: str) -> None:
    """And fills the loss and both gradients of that, even of boxes inside out or beyond limits."""
    good = make_pairs((9,), "xyxy")[0].float()
    bad = torch.stack([good, good[:, [2, 3, 0, 1]], good[:, [0, 3, 2, 1]], good * 1e30])
    good = good.expand(4, 9, 4)
    for i in range(4):
        bad[:, i, i] = math.nan
    expected = [True] * 4 + [False] * 5
    options: Any = {"kind": kind, "box_format": box_format}
    for pair in ((bad, good), (good, bad)):
        for function in (fcos_ops.iou_loss, reference.iou_loss):
            for result in loss_and_gradients(function, *pair, reduction="none", **options):
                found = result.reshape(4, 9, -1).isnan()
                assert found.all(2).tolist() == found.any(2).tolist() == [expected] * 4
            assert function(*pair, **options).isnan()
    weight = torch.ones(9)
    weight[7] = math.nan
    loss = fcos_ops.iou_loss(good[0], good[0] + 1, kind=kind, weight=weight, reduction="none")
    assert loss.isnan().nonzero().tolist() == [[7]]


@pytest.mark.every_device
@pytest.mark.parametrize("kind", KINDS)
def test_sum_of_many_equal_pairs(kind: str) -> None:
    """No random signs help the rounding errors."""
    for _ in range(4):
        pred, target = (boxes.float().expand(9000, 4) for boxes in make_pairs((1,), "xyxy"))
        exact = reference.iou_loss(pred.double(), target.double(), kind=kind)
        assert_near(fcos_ops.iou_loss(pred, target, kind=kind), exact, torch.float32)


@pytest.mark.every_device
def test_tiny_normalizers() -> None:
    """Nothing is divided by less than the smallest normal number of the maths."""
    pred, target = make_pairs((9,), "xyxy")
    for dtype in (torch.float32, torch.float64):
        tiny = torch.finfo(dtype).tiny
        options: Any = {"normalizer_floor": 0.0, "reduction": "none", "kind": "linear_iou"}
        for value in (0.0, tiny / 8, tiny):
            divisor = torch.tensor(value, dtype=dtype)
            loss = fcos_ops.iou_loss(
                pred.to(dtype), target.to(dtype), normalizer=divisor, **options
            )
            exact = reference.iou_loss(
                pred.to(dtype), target.to(dtype), normalizer=divisor, **options
            )
            assert loss.isfinite().all()
            assert_near(loss * tiny, exact * tiny, dtype)


def test_result_does_not_depend_on_threads_or_runs() -> None:
    pred, target = (boxes.float() for boxes in make_pairs((3, 20000), "ltrb"))
    for p, t in ((pred, target), (pred.permute(1, 0, 2), target.permute(1, 0, 2))):
        results = []
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            results.append(loss_and_gradients(fcos_ops.iou_loss, p, t, box_format="ltrb"))
        for other in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(other, results[0], strict=True))


def test_normalizer() -> None:
    pred, target = make_pairs((8,), "xyxy")
    plain = fcos_ops.iou_loss(pred, target)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.int32, torch.int64):
        divided = fcos_ops.iou_loss(pred, target, normalizer=torch.tensor([4], dtype=dtype))
        assert torch.allclose(divided, plain / 4)
    zero = torch.tensor(0.0)
    assert torch.allclose(fcos_ops.iou_loss(pred, target, normalizer=zero), plain * 1e6)
    weight = torch.zeros(8)
    assert fcos_ops.iou_loss(pred, target, weight=weight, normalizer=weight.sum()) == 0


def test_gradient_under_retain_graph_and_scaling() -> None:
    pred, target = (boxes.float().requires_grad_() for boxes in make_pairs((9,), "xyxy"))
    once = torch.autograd.grad(fcos_ops.iou_loss(pred, target), (pred, target))
    loss = fcos_ops.iou_loss(pred, target)
    kept = torch.autograd.grad(3 * loss, (pred, target), retain_graph=True)
    again = torch.autograd.grad(loss, (pred, target))
    for i in range(2):
        assert torch.equal(again[i], once[i]) and torch.allclose(kept[i], 3 * once[i])


def test_second_derivative_raises_instead_of_vanishing() -> None:
    pred, target = (boxes.float().requires_grad_() for boxes in make_pairs((9,), "xyxy"))
    loss = fcos_ops.iou_loss(pred, target)
    (gradient,) = torch.autograd.grad(loss, pred, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiated only once"):
        (gradient.square().sum() + pred.sum()).backward()


def test_no_gradient_is_computed_where_none_is_asked_for() -> None:
    pred, target = (boxes.float() for boxes in make_pairs((5000,), "xyxy"))
    assert allocated_bytes(lambda: fcos_ops.iou_loss(pred, target)) <= 4096
    pred.requires_grad_()
    with torch.no_grad():
        assert not fcos_ops.iou_loss(pred, target).requires_grad
    with torch.inference_mode():
        assert not fcos_ops.iou_loss(pred, target).requires_grad
    fcos_ops.iou_loss(pred, target).backward()
    assert pred.grad is not None and target.grad is None


@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS[:4])  # the reference tests say what ciou's gradient is
def test_gradcheck(kind: str, box_format: str) -> None:
    pred, target = (boxes.requires_grad_() for boxes in make_pairs((6,), box_format))
    for reduction in ("sum", "mean", "none"):
        torch.autograd.gradcheck(
            lambda p, t, reduction=reduction: fcos_ops.iou_loss(
                p, t, kind=kind, box_format=box_format, reduction=reduction
            ),
            (pred, target),
        )


# (dtype of pred, dtype of target, reduction, which require a gradient, normalizer)
OPCHECK_CASES = [
    (torch.float32, torch.float32, "sum", (True, False), None),
    (torch.float32, torch.float32, "mean", (True, True), None),
    (torch.float16, torch.float32, "sum", (True, True), 3.0),
    (torch.bfloat16, torch.bfloat16, "none", (False, True), 3.0),
    (torch.float16, torch.float16, "none", (True, True), None),
    (torch.float64, torch.float32, "none", (False, False), None),
]


@pytest.mark.parametrize("case", OPCHECK_CASES, ids=str)
def test_opcheck(case: Any) -> None:
    *dtypes, reduction, needed, normalizer = case
    pred, target = (
        torch.rand(2, 4, 3, 5, dtype=dtype).permute(0, 2, 3, 1).requires_grad_(needs)
        for dtype, needs in zip(dtypes, needed, strict=True)
    )
    divisor = None if normalizer is None else torch.tensor(normalizer)
    stored = [
        needs and (dtype != torch.float16 or reduction == "none")
        for dtype, needs in zip(dtypes, needed, strict=True)
    ]
    options = (None, divisor, 1e-6, 1.0, "ciou", "ltrb", 1e-7, reduction, *stored)
    torch.library.opcheck(torch.ops.fcos_ops.iou_loss.default, (pred, target, *options))


class Loss(torch.nn.Module):
    def forward(self, pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        options = {"box_format": "ltrb", "weight": weight, "normalizer": weight.sum()}
        loss = fcos_ops.iou_loss(pred * 2, target, **options) * 3
        return loss + fcos_ops.iou_loss(pred, target, kind="ciou", reduction="none").mean()


@pytest.mark.parametrize("backend, compiler", [("native", "inductor"), ("reference", "aot_eager")])
def test_compile_and_export(backend: str, compiler: str) -> None:
    eager = Loss()
    with fcos_ops.backend(backend):
        compiled = torch.compile(eager, fullgraph=True, dynamic=True, backend=compiler)
        for rows in (6, 11):
            pred, target = torch.rand(2, rows, 4, requires_grad=True)
            weight = torch.rand(rows)
            pair = pred.detach().requires_grad_(), target.detach().requires_grad_()
            actual = torch.autograd.grad(compiled(*pair, weight), pair)
            expected = torch.autograd.grad(eager(*pair, weight), pair)
            for a, e in zip(actual, expected, strict=True):
                assert torch.allclose(a, e, rtol=1e-4, atol=1e-6)
        rows = torch.export.Dim("rows")
        program = torch.export.export(
            eager,
            (torch.rand(6, 4), torch.rand(6, 4), torch.rand(6)),
            dynamic_shapes=({0: rows}, {0: rows}, {0: rows}),
        )
        inputs = pair[0].detach(), pair[1].detach(), weight
        assert torch.allclose(program.module()(*inputs), eager(*inputs))


@given(
    rows=st.integers(0, 600),
    kind=st.sampled_from(KINDS),
    box_format=st.sampled_from(FORMATS),
    eps=st.sampled_from([1e-7, 1e-3, 1.0]),
    scale=st.sampled_from([0.1, 1.0, 1e4]),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=60)
def test_any_boxes(
    rows: int, kind: str, box_format: str, eps: float, scale: float, seed: int
) -> None:
    torch.manual_seed(seed)
    pred, target = (boxes.float() * scale for boxes in make_pairs((rows,), box_format))
    assert_matches_reference(pred, target, kind=kind, box_format=box_format, eps=eps)


P = torch.rand(5, 4)
BAD_INPUT = [
    (([1.0], P), {}, TypeError, "pred must be a torch.Tensor"),
    ((P.int(), P), {}, TypeError, "pred must have dtype"),
    ((P.to_sparse(), P), {}, TypeError, "pred must be a dense tensor"),
    ((torch.tensor(1.0), P), {}, ValueError, "pred must have shape"),
    ((P[:, :3], P[:, :3]), {}, ValueError, "pred must have shape"),
    ((P, None), {}, TypeError, "target must be a torch.Tensor"),
    ((P, P.long()), {}, TypeError, "target must have dtype"),
    ((P, P[:3]), {}, ValueError, "target must have shape"),
    ((P, P[0]), {}, ValueError, "target must have shape"),
    ((P, P.to("meta")), {}, ValueError, "target must be on the device"),
    ((P, P), {"kind": "eiou"}, ValueError, "kind must be one of"),
    ((P, P), {"box_format": "cxcywh"}, ValueError, "box_format must be one of"),
    ((P, P), {"eps": 0}, ValueError, "eps"),
    ((P, P), {"eps": math.nan}, ValueError, "eps"),
    ((P, P), {"eps": math.inf}, ValueError, "eps"),
    ((P, P), {"eps": "1"}, TypeError, "eps"),
    ((P, P), {"weight": P}, ValueError, "weight must have shape"),
    ((P, P), {"weight": torch.ones(5).long()}, TypeError, "weight must have dtype"),
    ((P, P), {"weight": torch.ones(5, requires_grad=True)}, ValueError, "weight is not diff"),
    ((P, P), {"reduction": "avg"}, ValueError, "reduction"),
    ((P, P), {"normalizer": 0.0}, ValueError, "normalizer"),
    ((P, P), {"normalizer": torch.ones(2)}, ValueError, "normalizer"),
    ((P, P), {"normalizer": 2, "reduction": "mean"}, ValueError, "normalizer"),
]


@pytest.mark.parametrize("backend", fcos_ops._native.BACKENDS)
@pytest.mark.parametrize("arguments, options, error, message", BAD_INPUT)
def test_bad_input(
    arguments: Any, options: Any, error: type[Exception], message: str, backend: str
) -> None:
    with fcos_ops.backend(backend), pytest.raises(error, match=message):
        fcos_ops.iou_loss(*arguments, **options)
