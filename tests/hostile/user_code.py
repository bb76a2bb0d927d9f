"""Code of the user that runs between the checks of an argument and its use, or beside it."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import torch
from torch import Tensor

import fcos_ops
from tests.hostile import valid
from tests.hostile.calls import LOSSES, Call, differentiable_tensors, slots
from tests.hostile.compare import bits, differences, expected, flat, run
from tests.hostile.findings import DIFFERENCE, EXCEPTION, MODIFIED, Finding, judged
from tests.hostile.odd import Case

ROUNDS = 20
ERRORS = (TypeError, ValueError, RuntimeError)


class FickleList(list):  # type: ignore[type-arg]
    """A list that holds less when it is read again."""

    def __iter__(self) -> Iterator[Any]:
        items = list(super().__iter__())
        self.clear()
        return iter(items)


def draw_case(rng: Random) -> Case:
    return rng.choice(_KINDS)(rng)


def _without_crash(call: Call) -> list[Finding]:
    """Any exception of a usual type will do: the inputs are not what they were."""
    try:
        run(call)
    except ERRORS:
        return []
    except Exception as error:
        return [Finding(EXCEPTION, f"{type(error).__name__}: {str(error)[:300]}")]
    return []


def _normalize(rng: Random) -> Case:
    """A callback that takes the memory of other arguments away."""
    call = valid.draw_call(rng, "fcos_loss").with_tensors(Tensor.detach)
    slot, victim = rng.choice([(s, v) for s, v in slots(call) if isinstance(v, Tensor)])
    how = rng.choice(["empty", "resized", "freed", "other dtype"])

    def callback(counts: Tensor) -> Tensor:
        if how == "empty":
            sizes = victim.shape if victim.dim() < 4 else (0, *victim.shape[1:])
            victim.set_(
                torch.empty([0 if victim.dim() < 4 else s for s in sizes], dtype=victim.dtype)
            )
        elif how == "resized":
            victim.resize_(0)
        elif how == "freed":
            victim.untyped_storage().resize_(0)
        else:
            victim.data = torch.zeros(1, dtype=torch.complex64)
        return counts

    call = replace(call.with_arguments(normalize=callback), note=f"normalize: {slot} {how}")
    return call, lambda: _without_crash(call)


def _differentiable_call(rng: Random) -> Call:
    while True:
        call = valid.draw_call(rng, rng.choice(LOSSES))
        if any(t.requires_grad and t.numel() for t in differentiable_tensors(call)):
            return call


def _short_hooks(rng: Random) -> Case:
    """Hooks on saved tensors that do not give back what was saved."""
    call = _differentiable_call(rng)
    changes: list[Callable[[Tensor], Tensor]] = [
        lambda t: t.reshape(-1)[:0],
        lambda t: t.reshape(-1)[:1],
        lambda t: t.new_zeros(()),
        lambda t: t.to(torch.complex64),
        lambda t: t.double(),
        lambda t: t.to("meta"),
    ]
    change = rng.choice(changes)
    call = replace(call, note=f"saved tensors are unpacked by change {changes.index(change)}")

    def judge() -> list[Finding]:
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t, change):
            return _without_crash(call)

    return call, judge


def _kept(rng: Random) -> Case:
    """Hooks that keep the saved tensors: the backward pass must not change them."""
    call = replace(_differentiable_call(rng), note="saved tensors are kept by hooks")
    kept: list[Tensor] = []
    before: list[bytes] = []

    def pack(tensor: Tensor) -> int:
        kept.append(tensor.detach())
        before.append(bits(tensor))
        return len(kept) - 1

    def judge() -> list[Finding]:
        with torch.autograd.graph.saved_tensors_hooks(pack, kept.__getitem__):
            result = run(call)
        findings = [Finding(DIFFERENCE, t) for t in differences(call, result, expected(call))]
        if [bits(tensor) for tensor in kept] != before:
            findings.append(Finding(MODIFIED, "what a hook unpacked was multiplied in place"))
        return findings

    return call, judge


def _fickle(rng: Random) -> Case:
    call = valid.draw_call(rng, rng.choice(["fcos_loss", "postprocess"])).with_tensors(
        Tensor.detach
    )
    name = rng.choice(["cls_logits", "ltrb", "centerness", "levels"])
    plain = call
    call = call.with_arguments(**{name: FickleList(call.arguments[name])})
    call = replace(call, note=f"{name} is a list that is shorter when it is read again")

    def judge() -> list[Finding]:
        try:
            result = run(call)
        except Exception as error:
            return judged(error, call)
        return [Finding(DIFFERENCE, t) for t in valid.unlike_reference(plain, result)]

    return call, judge


def _writer(rng: Random) -> Case:
    """Another thread writes `offsets` while they are read."""
    function = rng.choice([_padded, _assigned])
    images = rng.choice([1, 50, 20_000])
    boxes = torch.rand(images, 4) * 50
    boxes[:, 2:] += boxes[:, :2]
    offsets = torch.arange(images + 1)
    wild = torch.tensor(rng.choice([2**40, -(2**40), 2**62, -5]))
    call = Call(
        function.__name__, {"images": images, "wild": wild}, note="offsets written meanwhile"
    )

    def judge() -> list[Finding]:
        stop = threading.Event()
        good = offsets.clone()

        def write() -> None:
            while not stop.is_set():
                offsets.fill_(wild)
                offsets.copy_(good)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(ROUNDS):
                try:
                    flat(function(boxes, offsets))
                except ERRORS:
                    pass
        finally:
            stop.set()
            writer.join()
        return []

    return call, judge


def _padded(boxes: Tensor, offsets: Tensor) -> Any:
    scores = boxes[:, 0].contiguous()
    return fcos_ops.nms_padded(
        *(boxes, scores, None, offsets), iou_threshold=0.5, score_threshold=None, max_detections=2
    )


def _assigned(boxes: Tensor, offsets: Tensor) -> Any:
    levels = (fcos_ops.Level(3, 4, 8, 8, 8.0, 0.0, 1e8),)
    labels = torch.zeros(len(boxes), dtype=torch.int64)
    return fcos_ops.assign_targets(levels, boxes, labels, offsets)


_KINDS = [_normalize, _normalize, _short_hooks, _kept, _fickle, _writer]
