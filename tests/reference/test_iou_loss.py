import math

import pytest
import torch

from fcos_ops.reference import iou_loss

KINDS = ("iou", "linear_iou", "giou", "diou", "ciou")
EPS = 1e-12
SQRT3 = math.sqrt(3)


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def ciou_of_squares_and_root3() -> dict[str, float]:
    """(0, 0, 1, 1) and (0, 0, sqrt 3, 1): angles pi/4 and pi/3, v = 4/pi^2 (pi/12)^2 = 1/36."""
    iou, v = 1 / SQRT3, 1 / 36
    diou = iou - ((SQRT3 - 1) / 2) ** 2 / 4
    return {"diou": 1 - diou, "ciou": 1 - diou + v / (1 - iou + v) * v}


# pred, target, loss of each kind
TABLE = {
    # I = 1, U = 7, C = 9, d^2 = 2, diagonal^2 = 18, same aspect
    "overlapping": (
        (0, 0, 2, 2),
        (1, 1, 3, 3),
        {
            "iou": math.log(7),
            "linear_iou": 6 / 7,
            "giou": 6 / 7 + 2 / 9,
            "diou": 6 / 7 + 1 / 9,
            "ciou": 6 / 7 + 1 / 9,
        },
    ),
    # I = 0, U = 2, C = 3, d^2 = 4, diagonal^2 = 10
    "disjoint": (
        (0, 0, 1, 1),
        (2, 0, 3, 1),
        {
            "iou": -math.log(EPS),
            "linear_iou": 1,
            "giou": 4 / 3,
            "diou": 1.4,
            "ciou": 1.4,
        },
    ),
    # I = 2, U = C = 20, same centre
    "inside": (
        (1, 1, 2, 3),
        (-1, 0, 4, 4),
        {"iou": math.log(10), "linear_iou": 0.9, "giou": 0.9, "diou": 0.9},
    ),
    "touching": ((0, 0, 1, 1), (1, 0, 2, 1), {"linear_iou": 1, "giou": 1, "diou": 1 + 1 / 5}),
    "identical": ((-3, 1, 5, 2), (-3, 1, 5, 2), dict.fromkeys(KINDS, 0)),
    "other aspect": ((0, 0, 1, 1), (0, 0, SQRT3, 1), ciou_of_squares_and_root3()),
    # Sides below 0 count as 0: I = 0, U = 1, C = 2 (from the smallest x1 to the largest x2)
    "inverted": ((3, 0, 2, 1), (0, 0, 1, 1), {"linear_iou": 1, "giou": 1 + 1 / 2}),
    # U = 0, and the enclosing box, from 9 to 2, has no width either
    "both inverted": ((9, 0, 2, 1), (9, 0, 1, 1), {"linear_iou": 1, "giou": 1}),
}


@pytest.mark.parametrize("case", TABLE)
def test_closed_forms(case):
    pred, target, expected = TABLE[case]
    for kind, value in expected.items():
        loss = iou_loss(f64(pred), f64(target), kind=kind, eps=EPS, reduction="none")
        torch.testing.assert_close(loss, f64(value), msg=lambda text, kind=kind: f"{kind}: {text}")


def test_default_kind_and_eps():
    pred, target = f64((0, 0, 2, 2)), f64((1, 1, 3, 3))
    expected = 1 - (1 / (7 + 1e-7) - 2 / (9 + 1e-7))
    torch.testing.assert_close(iou_loss(pred, target).item(), expected, rtol=1e-14, atol=0)


def test_eps_is_added_to_every_denominator():
    square, away = f64((0, 0, 1, 1)), f64((2, 0, 3, 1))
    options = {"eps": 1.0, "reduction": "sum"}
    # I = U = 1: 1 / 2. Apart: I = 0, U = 2, C = 3, d^2 = 4, diagonal^2 = 10.
    assert iou_loss(square, square, kind="linear_iou", **options) == 1 / 2
    assert iou_loss(square, square, kind="iou", **options) == 0  # -log(max(1 / 2, eps))
    assert iou_loss(square, away, kind="giou", **options) == 1 + 1 / 4
    torch.testing.assert_close(iou_loss(square, away, kind="diou", **options).item(), 1 + 4 / 11)


def test_ltrb_is_the_box_around_the_location():
    pred, target = torch.rand(6, 4, dtype=torch.float64), torch.rand(6, 4, dtype=torch.float64)
    sign = f64(-1, -1, 1, 1)
    for kind in KINDS:
        torch.testing.assert_close(
            iou_loss(pred, target, kind=kind, box_format="ltrb"),
            iou_loss(pred * sign, target * sign, kind=kind),
        )


def gradient(pred, target, kind):
    pred = f64(pred).requires_grad_()
    iou_loss(pred, f64(target), kind=kind, eps=EPS).sum().backward()
    return pred.grad[0]


def test_gradient_at_ties_is_split():
    # linear_iou of (x1, 0, x2, 1) and (0, 0, 2, 1) at x1 = 0, x2 = 1: I = 1, U = 2.
    # x2: dI = 1, dU = 1 - 1 = 0, so -dI / U = -1/2.
    # x1 (tie): dI = -1/2, dU = -1 + 1/2, so -(dI U - I dU) / U^2 = -(-1 + 1/2) / 4 = 1/8.
    # y1 (tie): the same; y2 (tie): dI = 1/2, dU = 1 - 1/2, so -1/8.
    torch.testing.assert_close(
        gradient((0, 0, 1, 1), (0, 0, 2, 1), "linear_iou"), f64(1 / 8, 1 / 8, -1 / 2, -1 / 8)
    )


def test_touching_boxes_have_no_gradient_of_the_overlap():
    grad = gradient((0, 1 / 4, 1, 3 / 4), (1, 0, 2, 1), "linear_iou")
    assert grad.tolist() == [0, 0, 0, 0]


def test_a_box_without_width_can_grow():
    # (1, 1/4, 1, 3/4) in (0, 0, 2, 1): I = 0, U = C = 2; at 0 the overlap's slope is 0, the width's
    # is 1.
    # giou loss = 2 - U / C; dU/dx2 = 1/2, so -1/4 for x2, 1/4 for x1; without a width none for y.
    grad = gradient((1, 1 / 4, 1, 3 / 4), (0, 0, 2, 1), "giou")
    torch.testing.assert_close(grad, f64(1 / 4, 0, -1 / 4, 0))


def test_ciou_weight_is_constant_in_backward():
    # v = 4/pi^2 (pi/3 - theta)^2 at theta = pi/4; dtheta/dx2 = h / (w^2 + h^2) = 1/2 = -dtheta/dy2.
    # dv/dx2 = -8/pi^2 * pi/12 * 1/2 = -1 / (3 pi)
    pair = (0, 0, 1, 1), (0, 0, SQRT3, 1)
    aspect = gradient(*pair, "ciou") - gradient(*pair, "diou")
    alpha = (1 / 36) / (1 - 1 / SQRT3 + 1 / 36)
    slope = alpha / (3 * math.pi)
    torch.testing.assert_close(aspect, f64(slope, -slope, -slope, slope))


def test_aspect_of_a_tiny_box():
    # Squares of 1e-30 and of 1: equal angles, although w * w + h * h of the first is 0 in float32.
    pair = torch.tensor([[0, 0, 1e-30, 1e-30]]), torch.tensor([[0.0, 0, 1, 1]])
    assert iou_loss(*pair, kind="ciou") == iou_loss(*pair, kind="diou")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_finite_for_every_finite_box(kind, dtype):
    largest = torch.finfo(dtype).max
    boxes = torch.tensor(
        [
            (0, 0, 0, 0),
            (1, 1, 1, 1),
            (0, 0, 1, 1),
            (5, 5, 1, 1),
            (0, 0, 1e-22, 1e-22),
            (0, 0, 1e-30, 1e-41),
            (0, 0, 1, 1e-45),
            (-3e4, -3e4, 3e4, 3e4),
            (-largest, -largest, largest, largest),
            (largest, largest, -largest, -largest),
            (largest, 0, largest, 1),
        ],
        dtype=torch.float64,
    ).to(dtype)
    n = len(boxes)
    pred = boxes.repeat_interleave(n, 0).requires_grad_()
    target = boxes.repeat(n, 1).requires_grad_()
    loss = iou_loss(pred, target, kind=kind, reduction="none")
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert loss.isfinite().all()
    for wanted in (pred, target):
        (grad,) = torch.autograd.grad(loss.sum(), wanted, retain_graph=True)
        if (
            dtype == torch.float16
        ):  # a gradient of 1/eps does not fit: only its sign can be asked for
            assert not grad.isnan().any()
        else:
            assert grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_nan_gives_nan(kind):
    boxes = torch.tensor([[0, 0, 1, 1], [0, torch.nan, 1, 1]])
    good = torch.tensor([[0.0, 0, 1, 1]]).expand(2, 4)
    for pair in ((boxes, good), (good, boxes)):
        loss = iou_loss(*pair, kind=kind, reduction="none")
        assert loss.isnan().tolist() == [False, True]


def test_weight_normalizer_reduction():
    pred, target, weight = torch.rand(2, 3, 4), torch.rand(2, 3, 4), torch.rand(2, 3)
    each = iou_loss(pred, target, reduction="none")
    assert each.shape == (2, 3)
    total = (each * weight).sum()
    torch.testing.assert_close(iou_loss(pred, target, weight=weight), total)
    mean = iou_loss(pred, target, weight=weight, reduction="mean")
    torch.testing.assert_close(mean, total / 6)
    loss = iou_loss(pred, target, weight=weight, normalizer=weight.sum())
    torch.testing.assert_close(loss, total / weight.sum())
    floored = iou_loss(pred, target, weight=weight * 0, normalizer=torch.tensor(0.0))
    assert floored == 0


def test_empty():
    pred = torch.zeros(0, 4, requires_grad=True)
    for kind in KINDS:
        for reduction in ("sum", "mean"):
            loss = iou_loss(pred, torch.zeros(0, 4), kind=kind, reduction=reduction)
            loss.backward()
            assert loss == 0


@pytest.mark.parametrize("box_format", ["xyxy", "ltrb"])
@pytest.mark.parametrize("kind", KINDS[:4])  # ciou: see test_ciou_weight_is_constant_in_backward
def test_gradcheck(kind, box_format):
    generator = torch.Generator().manual_seed(3)
    pred = torch.rand(6, 4, dtype=torch.float64, generator=generator) + 0.2
    target = torch.rand(6, 4, dtype=torch.float64, generator=generator) + 0.2
    if box_format == "xyxy":
        pred[:, 2:] += pred[:, :2] + 0.5
        target[:, 2:] += target[:, :2] + 0.5
    inputs = pred.requires_grad_(), target.requires_grad_()
    torch.autograd.gradcheck(
        lambda p, t: iou_loss(p, t, kind=kind, box_format=box_format, reduction="none"), inputs
    )


def test_compiles_in_one_graph_for_all_sizes():
    compiled = torch.compile(iou_loss, fullgraph=True, dynamic=True, backend="aot_eager")
    for size in (3, 9):
        pred, target = torch.rand(size, 4, requires_grad=True), torch.rand(size, 4)
        options = {"kind": "ciou", "box_format": "ltrb", "normalizer": torch.tensor(2.0)}
        torch.testing.assert_close(
            compiled(pred, target, **options), iou_loss(pred, target, **options)
        )
