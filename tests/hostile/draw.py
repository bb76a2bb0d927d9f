"""Random shapes, values and layouts. torch's generator has been seeded by the caller."""

import math
from collections.abc import Sequence
from random import Random
from typing import Any

import torch
from torch import Tensor

INF, NAN = math.inf, math.nan
DTYPES = (torch.float32, torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGERS = (torch.int64, torch.int32)
SIZES = (0, 1, 1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33)
CLASSES = (1, 1, 2, 3, 4, 5, 5, 7, 80, 80, 1203)
LOGITS = (NAN, INF, -INF, -0.0, 0.0, 1e-40, 88.0, -60.0, 1e8, -1e17, 1e30, -1e30)
LENGTHS = (NAN, INF, -INF, -0.0, 0.0, 1e-40, 1e-20, -1.0, 1e9, 1e30, -1e30)


def often(rng: Random, probability: float) -> bool:
    return rng.random() < probability


def shape(rng: Random, limit: int, rank: int = 4) -> tuple[int, ...]:
    """Up to `rank` dimensions of at most `limit` elements; one in five calls is a larger one."""
    limit *= 8 if often(rng, 0.1) else 1
    sizes: list[int] = []
    for _ in range(rng.randint(0, rank)):
        size = rng.choice(SIZES) if often(rng, 0.8) else rng.randint(0, 400)
        if math.prod(sizes) * size <= limit:
            sizes.append(size)
    return tuple(sizes)


def dtype(rng: Random) -> torch.dtype:
    return rng.choice(DTYPES)


def sprinkled(rng: Random, values: Tensor, special: Sequence[float]) -> Tensor:
    """`values`, in a third of the calls with some of `special` among them."""
    if not often(rng, 0.33):
        return values
    chosen = torch.tensor(rng.sample(special, rng.randint(1, len(special))), dtype=values.dtype)
    where = torch.rand(values.shape) < rng.choice([0.02, 0.3])
    return torch.where(where, chosen[torch.randint(0, len(chosen), values.shape)], values)


def logits(rng: Random, sizes: Sequence[int], kind: torch.dtype) -> Tensor:
    values = torch.randn(sizes, dtype=torch.float64) * rng.choice([1, 4, 20]) - rng.choice([0, 3])
    if often(rng, 0.05):
        values = torch.full_like(values, rng.choice([0.0, 0.3, -4.6]))
    return laid_out(rng, sprinkled(rng, values, LOGITS).to(kind))


def unit(rng: Random, sizes: Sequence[int], kind: torch.dtype) -> Tensor:
    """Numbers in [0, 1], both ends among them."""
    values = (torch.rand(sizes, dtype=torch.float64) * 1.4 - 0.2).clamp(0, 1)
    if often(rng, 0.05):
        values = torch.full_like(values, rng.choice([0.0, 0.1, 1.0]))
    return laid_out(rng, values.to(kind))


def weight(rng: Random, sizes: Sequence[int]) -> Tensor | None:
    if often(rng, 0.5):
        return None
    values = torch.rand(sizes, dtype=torch.float64) * 3
    return laid_out(rng, sprinkled(rng, values, (0.0, -1.0, 1e-40)).to(dtype(rng)))


def normalizer(rng: Random, arguments: dict[str, Any], default_floor: float) -> None:
    """Adds reduction, normalizer and floor to the arguments of a loss."""
    arguments["reduction"] = reduction = rng.choice(["sum", "sum", "mean", "none"])
    if often(rng, 0.3):
        arguments["normalizer_floor"] = rng.choice([0.0, 1.0, 1e-6, 10, 1e39])
    if reduction == "mean" or often(rng, 0.5):
        return
    floor = arguments.get("normalizer_floor", default_floor)
    if often(rng, 0.4):
        arguments["normalizer"] = max(floor, rng.choice([1, 3.5, 1000, 1e-3, 1e30]))
        return
    kind = rng.choice([*DTYPES, *INTEGERS])
    values = [1.0, 7.0, 0.0, -2.0] if kind in INTEGERS else [0.5, 700.0, INF, NAN, 0.0, -1.0]
    if floor == 0:
        values = values[:2]
    value = torch.tensor(rng.choice(values), dtype=torch.float64).to(kind)
    arguments["normalizer"] = value.reshape(rng.choice([(), (1,), (1, 1)]))


def laid_out(rng: Random, values: Tensor, may_repeat: bool = True) -> Tensor:
    """The values in another layout. Stride 0 along a dimension repeats the first ones."""
    shape, rank = values.shape, values.dim()
    how = rng.choice(["as it is", "contiguous", "steps", "offset", "permuted", "repeated"])
    if how == "steps":
        steps = [rng.choice([1, 1, 2, 3]) for _ in shape]
        starts = [rng.randint(0, 2) for _ in shape]
        room = [start + size * step for start, size, step in zip(starts, shape, steps, strict=True)]
        view = _junk(room, values.dtype)
        view = view[tuple(slice(a, None, s) for a, s in zip(starts, steps, strict=True))]
        return view[tuple(slice(0, size) for size in shape)].copy_(values)
    if how == "offset":
        start = rng.randint(1, 3)
        flat = _junk([values.numel() + start + 1], values.dtype)
        return flat[start : start + values.numel()].view(shape).copy_(values)
    if how == "permuted" and rank > 1:
        order = rng.sample(range(rank), rank) if rank != 4 or often(rng, 0.5) else [0, 2, 3, 1]
        return values.permute(order).contiguous().permute([order.index(i) for i in range(rank)])
    if how == "repeated" and may_repeat and rank and often(rng, 0.5):
        dim = rng.randrange(rank)
        if shape[dim] > 0:
            return values.narrow(dim, 0, 1).clone().expand(shape)
    return values


def _junk(sizes: Sequence[int], kind: torch.dtype) -> Tensor:
    """Memory around a view, of values that a result would show if they were read."""
    return torch.full(tuple(sizes), NAN if kind.is_floating_point else 1, dtype=kind)


def with_gradients(rng: Random, tensors: Sequence[Tensor]) -> None:
    """Asks for the gradients of the tensors: of most, or, in one of five calls, of none."""
    if often(rng, 0.8):
        for tensor in tensors:
            tensor.requires_grad_(tensor is tensors[0] or often(rng, 0.8))
