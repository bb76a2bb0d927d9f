"""Valid calls: right by the reference, the same on one thread and on two and when run again, inputs
left as they are, and no memory shared with them."""

from dataclasses import replace
from random import Random
from typing import Any

import torch

from fcos_ops import Detections, Level, reference
from fcos_ops.presets import resolve_assignment_rule, resolve_postprocess_rule
from tests.hostile import draw, draw_boxes, draw_heads, draw_losses
from tests.hostile.calls import Call
from tests.hostile.compare import (
    Result,
    difference,
    differences,
    exact,
    expected,
    flat,
    memory,
    run,
    same_bits,
)
from tests.hostile.findings import (
    DIFFERENCE,
    MODIFIED,
    REFUSED,
    RUNS,
    SHARED,
    THREADS,
    Finding,
)

DRAWS = {
    "sigmoid_focal_loss": draw_losses.focal,
    "iou_loss": draw_losses.iou,
    "centerness_target": draw_losses.centerness_target,
    "centerness_loss": draw_losses.centerness,
    "fcos_loss": draw_heads.fcos_loss,
    "group_norm": draw_losses.group_norm,
    "assign_targets": draw_boxes.assign_targets,
    "nms": draw_boxes.nms,
    "batched_nms": draw_boxes.batched_nms,
    "nms_padded": draw_boxes.nms_padded,
    "postprocess": draw_heads.postprocess,
    "pyramid_levels": draw_boxes.pyramid_levels,
}
TIE = 1e-6  # scores that differ by less, relatively, may come in any order in float32


def draw_call(rng: Random, function: str | None = None) -> Call:
    call = DRAWS[function or rng.choice(list(DRAWS))](rng)
    return replace(call, gradient_seed=rng.getrandbits(32))


def judge(rng: Random, call: Call) -> list[Finding]:
    before = memory(call)
    twice = draw.often(rng, 0.3)
    try:
        torch.set_num_threads(2)
        together = run(call, twice=twice)
        torch.set_num_threads(1)  # for what follows too: the reference is many small operations
        alone, again = run(call), run(call)
    except Exception as error:
        return [Finding(REFUSED, f"{type(error).__name__}: {str(error)[:300]}")]
    findings = [Finding(DIFFERENCE, text) for text in unlike_reference(call, alone)]
    if not _same(together, alone):
        findings.append(Finding(THREADS, "1 thread and 2 threads give other bits"))
    if not _same(alone, again):
        findings.append(Finding(RUNS, "a second run gives other bits"))
    if memory(call) != before:
        findings.append(Finding(MODIFIED, "memory of an input changed"))
    if _shares_memory(call, together):
        findings.append(Finding(SHARED, "an output lies in the storage of an input"))
    return findings


def _same(one: Result, other: Result) -> bool:
    return same_bits(one.outputs, other.outputs) and same_bits(one.gradients, other.gradients)


def _shares_memory(call: Call, result: Result) -> bool:
    inputs = {t.untyped_storage().data_ptr() for t in call.tensors()} - {0}
    return any(t.untyped_storage().data_ptr() in inputs for t in result.tensors())


def unlike_reference(call: Call, result: Result) -> list[str]:
    """In what the result of a call is not what it should be."""
    if call.function == "pyramid_levels":
        wanted = flat(expected_levels(**call.arguments))
        return [] if result.outputs == wanted else [f"{result.outputs}, expected {wanted}"]
    try:
        if call.function == "postprocess":
            return _unlike_detections(call, result)
        return differences(call, result, expected(call))
    except Exception as error:  # the reference is the fallback: it takes what the op takes,
        if "t allocate memory" in str(error):  # but for its matrices of locations by boxes
            return []
        return [f"the reference raises {type(error).__name__}: {str(error)[:200]}"]


def expected_levels(
    sizes: Any, strides: Any = (8, 16, 32, 64, 128), image_size: Any = None, rule: Any = "improved"
) -> list[Level]:
    rule = resolve_assignment_rule(rule)
    levels = []
    for (height, width), stride, limits in zip(sizes, strides, rule.ranges, strict=True):
        apart = (stride, stride)
        if rule.derived_strides and image_size is not None:
            apart = (image_size[0] // height, image_size[1] // width)
        levels.append(Level(height, width, *apart, float(stride), *limits))
    return levels


def _unlike_detections(call: Call, result: Result) -> list[str]:
    """Against the reference in the op's own precision and in float64: either may break a tie that
    rounding makes, the one of equal scores included, as torch's sigmoid rounds by position."""
    for dtype in (None, torch.float64):
        wanted = run(exact(call, dtype), reference.postprocess)
        pairs = zip(Detections._fields, result.outputs, wanted.outputs, strict=True)
        texts = [(name, difference(one, other, torch.float32)) for name, one, other in pairs]
        found = [f"{name}: {text}" for name, text in texts if text]
        if not found or _has_near_ties(call):
            return []
    return found


def _has_near_ties(call: Call) -> bool:
    """Whether what is detected, in which order, depends on how the sigmoid rounds."""
    threshold = resolve_postprocess_rule(call.arguments.get("rule", "improved")).score_threshold
    of_classes, of_both = [torch.tensor([threshold])], [torch.tensor([threshold, threshold**2])]
    heads = zip(call.arguments["cls_logits"], call.arguments["centerness"], strict=True)
    for logits, centerness in heads:
        p = logits.detach().double().sigmoid()
        of_classes.append(p.flatten())
        of_both.append((p * centerness.detach().double().sigmoid()).flatten())
    classes, both = torch.cat(of_classes), torch.cat(of_both)
    other = torch.cat([torch.zeros(1), classes])
    return _near_ties(classes, classes) or _near_ties(both, other)


def _near_ties(keys: torch.Tensor, others: torch.Tensor) -> bool:
    """Whether two keys are almost equal that are not made of the same numbers."""
    keys, order = keys.sort()
    others = others[order]
    same = (keys[1:] == keys[:-1]) & (others[1:] == others[:-1])
    return bool(((keys.diff() <= TIE * keys[1:].abs()) & ~same).any())
