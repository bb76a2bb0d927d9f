"""Calls with one argument made wrong: a right result all the same, or an error that names it."""

import inspect
from dataclasses import replace
from random import Random
from typing import Any

from torch import Tensor

import fcos_ops
from fcos_ops import ASSIGNMENT_RULES, LOSS_RULES, POSTPROCESS_RULES, Level
from tests.hostile import draw, junk, valid
from tests.hostile.calls import Call
from tests.hostile.compare import run
from tests.hostile.findings import DIFFERENCE, EXCEPTION, Finding, judged

NUMBERS = {
    *("alpha", "gamma", "eps", "normalizer", "normalizer_floor", "iou_threshold"),
    *("score_threshold", "max_detections", "location_offset", "expected_scale"),
}
WORDS = {"reduction", "kind", "box_format"}
# Where too much memory may be what was asked for: sizes that are right but for that.
MAY_EXCEED_MEMORY = {"levels", "max_detections", "rule", "offsets"}


def draw_call(rng: Random) -> Call:
    call = valid.draw_call(rng)
    parameters = inspect.signature(getattr(fcos_ops, call.function)).parameters
    name = rng.choice([n for n in parameters for _ in range(2 if n in ("levels", "rule") else 1)])
    value = call.arguments.get(name)
    broken = name
    if name in NUMBERS and not (isinstance(value, Tensor) and draw.often(rng, 0.5)):
        wrong = junk.number(rng)
    elif name in WORDS:
        wrong = junk.word(rng)
    elif name in ("rule", "loss"):
        wrong = _rule(rng, call, name)
    elif name == "levels":
        wrong = _levels(rng, value)
    elif name in ("sizes", "strides", "image_size"):
        wrong = _sizes(rng, value)
    elif isinstance(value, Tensor):
        wrong, broken = junk.tensor(rng, value), ""
    elif isinstance(value, list):
        wrong, broken = _list(rng, value), ""
    else:
        wrong = junk.anything(rng)
    note = f"{name} is wrong"
    return replace(call.with_arguments(**{name: wrong}), note=note, broken=broken)


def _rule(rng: Random, call: Call, name: str) -> Any:
    if draw.often(rng, 0.25):
        return rng.choice(
            [junk.word(rng), "IMPROVED", ASSIGNMENT_RULES, POSTPROCESS_RULES["mmdet"]]
        )
    rules: Any = {"loss": LOSS_RULES}.get(name, ASSIGNMENT_RULES)
    if call.function == "postprocess":
        rules = POSTPROCESS_RULES
    rule = rules["improved"]
    field = rng.choice(rule._fields)
    if field == "ranges":
        wrong = rng.choice(
            [5, None, ("a", "b"), (("a", "b"),) * 5, ((1,),) * 5, "abcde", (1.0,) * 5]
        )
    elif isinstance(getattr(rule, field), str):
        wrong = junk.word(rng)
    else:
        wrong = junk.number(rng)
    return rule._replace(**{field: wrong})


def _levels(rng: Random, levels: Any) -> Any:
    how = rng.choice(["all", "count", "item", "field", "field", "field"])
    if how == "all":
        return junk.anything(rng)
    if how == "count":
        huge = levels[0]._replace(height=2**31 - 2, width=2**31 - 2)
        more = (*levels, levels[-1])
        return rng.choice([(), levels[:-1], more, levels * 17, (huge,) * 16, list(levels), None])
    items = list(levels)
    index = rng.randrange(len(items))
    if how == "item":
        items[index] = rng.choice([None, 5, "abc", tuple(items[index]), junk.Raising(), {}])
    else:
        field = rng.choice(Level._fields)
        wrong = junk.whole_number(rng) if field in Level._fields[:4] else junk.number(rng)
        items[index] = items[index]._replace(**{field: wrong})
    return tuple(items)


def _sizes(rng: Random, value: Any) -> Any:
    how = rng.choice(["all", "count", "item", "number"])
    if how == "all" or value is None:
        return rng.choice([junk.anything(rng), 5, None, ["8"] * 5, ["ab"] * 5, [(-5, -5)] * 5])
    items = list(value)
    index = rng.randrange(len(items))
    if how == "count":
        return rng.choice([[], items[:-1], [*items, items[-1]]])
    wrong = junk.whole_number(rng)
    if how == "number" and isinstance(items[index], tuple):
        wrong = rng.choice([(wrong, 5), (5, wrong), (5,), (5, 5, 5), "ab", [5, 5]])
    items[index] = wrong
    return items


def _list(rng: Random, maps: list[Tensor]) -> Any:
    how = rng.choice(["all", "count", "item", "item"])
    if how == "all":
        return rng.choice([junk.anything(rng), maps[0], iter(maps), dict(enumerate(maps))])
    if how == "count":
        return rng.choice([[], maps[:-1], [*maps, maps[-1]], maps[::-1], tuple(maps)])
    index = rng.randrange(len(maps))
    return [*maps[:index], junk.tensor(rng, maps[index]), *maps[index + 1 :]]


def judge(rng: Random, call: Call) -> list[Finding]:
    backend = "reference" if draw.often(rng, 0.15) else "native"
    try:
        with fcos_ops.backend(backend):
            result = run(call)
    except Exception as error:
        if call.note.split()[0] in MAY_EXCEED_MEMORY and "t allocate memory" in str(error):
            return [] if type(error) is RuntimeError else [Finding(EXCEPTION, repr(error)[:300])]
        return judged(error, call)
    if any(tensor.is_meta for tensor in result.tensors()):
        return []  # shapes only: see odd.py
    return [
        Finding(DIFFERENCE, f"accepted: {text}") for text in valid.unlike_reference(call, result)
    ]
