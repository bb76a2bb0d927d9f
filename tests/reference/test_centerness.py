import math

import pytest
import torch

from fcos_ops.reference import centerness_loss, centerness_target

NAN = math.nan


@pytest.mark.parametrize(
    ("ltrb", "expected"),
    [
        ((1, 1, 1, 1), 1),
        ((2, 5, 2, 5), 1),
        ((1, 2, 3, 4), math.sqrt(1 / 3 * 2 / 4)),
        ((3, 4, 1, 2), math.sqrt(1 / 3 * 2 / 4)),
        ((1, 1, 4, 1), 0.5),
        ((0, 1, 1, 1), 0),
        ((1, 1, 1, 0), 0),
        ((0, 0, 0, 0), 0),
        ((-1, -1, -1, -1), 0),
        ((1, -2, 1, 1), 0),
        ((1, NAN, 1, 1), NAN),
        ((-1, NAN, 0, 1), NAN),
    ],
)
def test_target(ltrb, expected):
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        target = centerness_target(torch.tensor(ltrb, dtype=dtype, requires_grad=True))
        assert target.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert not target.requires_grad
        torch.testing.assert_close(
            target, torch.tensor(expected, dtype=target.dtype), equal_nan=True
        )


def test_target_shapes():
    assert centerness_target(torch.ones(2, 3, 4)).shape == (2, 3)
    assert centerness_target(torch.ones(0, 4)).shape == (0,)


def test_loss_values_and_gradient():
    logits = torch.tensor([0, 0, math.log(3), math.log(3)], dtype=torch.float64).requires_grad_()
    target = torch.tensor([0.5, 1, 1, 0.25], dtype=torch.float64)
    loss = centerness_loss(logits, target, reduction="none")
    # -(t log p + (1 - t) log(1 - p)) with p = 1/2, 1/2, 3/4, 3/4
    quarter = -(0.25 * math.log(3 / 4) + 0.75 * math.log(1 / 4))
    expected = torch.tensor([math.log(2), math.log(2), math.log(4 / 3), quarter]).double()
    torch.testing.assert_close(loss, expected)
    loss.sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([0, -0.5, -0.25, 0.5]).double())  # p - t


def test_saturated_logits():
    logits = torch.tensor([1e4, 1e4, -1e4, -30.0], requires_grad=True)
    loss = centerness_loss(logits, torch.tensor([1.0, 0, 1, 0]), reduction="none")
    loss.sum().backward()
    torch.testing.assert_close(
        loss, torch.tensor([0, 1e4, 1e4, math.log1p(math.exp(-30))]), rtol=1e-6, atol=0
    )
    torch.testing.assert_close(
        logits.grad, torch.tensor([0, 1, -1, math.exp(-30)]), rtol=1e-6, atol=0
    )


def test_only_masked_places_count():
    logits = torch.tensor([0.0, NAN, 0.0, 3.0], requires_grad=True)
    target = torch.tensor([1.0, 0.5, NAN, 0.5])
    chosen = {
        "mask": torch.tensor([True, False, False, False]),
        "labels": torch.tensor([5, -1, -2, -1]),
    }
    for name, value in chosen.items():
        logits.grad = None
        loss = centerness_loss(logits, target, reduction="none", **{name: value})
        loss.sum().backward()
        torch.testing.assert_close(loss, torch.tensor([math.log(2), 0, 0, 0]))
        assert logits.grad.tolist() == [-0.5, 0, 0, 0]
    assert centerness_loss(logits, target).isnan()


def test_normalizer_and_reduction():
    logits, target = torch.zeros(2, 3), torch.rand(2, 3)  # log 2 whatever the target
    mask = torch.tensor([[True, True, False], [True, False, False]])
    total = torch.tensor(3 * math.log(2))
    torch.testing.assert_close(centerness_loss(logits, target, mask=mask), total)
    torch.testing.assert_close(
        centerness_loss(logits, target, mask=mask, reduction="mean"), total / 6
    )
    for normalizer, divisor in ((3, 3), (torch.tensor(3), 3), (torch.tensor(0), 1)):
        loss = centerness_loss(logits, target, mask=mask, normalizer=normalizer)
        torch.testing.assert_close(loss, total / divisor)
    none = centerness_loss(logits, target, mask=~mask & mask, normalizer=torch.tensor(0))
    assert none == 0


def test_empty():
    logits = torch.zeros(0, requires_grad=True)
    for reduction in ("sum", "mean"):
        loss = centerness_loss(logits, torch.zeros(0), reduction=reduction)
        loss.backward()
        assert loss == 0


def test_half_precision():
    logits = torch.randn(5, dtype=torch.float16, requires_grad=True)
    loss = centerness_loss(logits, torch.rand(5))
    loss.backward()
    assert (loss.dtype, logits.grad.dtype) == (torch.float32, torch.float16)


def test_gradcheck():
    logits = torch.linspace(-3, 3, 6, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([True, True, False, True, True, True])
    target = torch.rand(6, dtype=torch.float64)
    torch.autograd.gradcheck(lambda x: centerness_loss(x, target, mask=mask), logits)


def test_compiles_in_one_graph_for_all_sizes():
    def loss(logits, ltrb, labels):
        return centerness_loss(logits, centerness_target(ltrb), labels=labels)

    compiled = torch.compile(loss, fullgraph=True, dynamic=True, backend="aot_eager")
    for size in (3, 7):
        inputs = torch.randn(size), torch.rand(size, 4), torch.arange(size) - 2
        torch.testing.assert_close(compiled(*inputs), loss(*inputs))
