"""Which call a seed and a number make."""

from random import Random

import torch

from tests.hostile import broken, direct, library, odd, transforms, user_code, valid
from tests.hostile.odd import Case


def _valid(rng: Random) -> Case:
    call = valid.draw_call(rng)
    return call, lambda: valid.judge(rng, call)


def _broken(rng: Random) -> Case:
    call = broken.draw_call(rng)
    return call, lambda: broken.judge(rng, call)


# A kind of calls, and its share in a hundred.
KINDS = {
    "valid": (_valid, 30),
    "broken": (_broken, 35),
    "odd": (odd.draw_case, 12),
    "transforms": (transforms.draw_case, 8),
    "direct": (direct.draw_case, 8),
    "user_code": (user_code.draw_case, 4),
    "library": (library.draw_case, 3),
}


def draw_case(seed: int, index: int) -> tuple[str, Case]:
    """The kind, the call, and the function that runs and judges it."""
    rng = Random(f"{seed}:{index}")
    torch.manual_seed(rng.getrandbits(60))
    torch.set_num_threads(1)
    names = list(KINDS)
    kind = rng.choices(names, [share for _, share in KINDS.values()])[0]
    return kind, KINDS[kind][0](rng)
