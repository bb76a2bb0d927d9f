"""A share of a part that is held out of training, where a tool made no part val."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .annotations import Entry


class HeldOut(NamedTuple):
    """Which images of a part to take: those held out, `fraction` of them, or the rest.

    What is held out follows from the images' file names alone: `fcos train` and `fcos eval` find
    the same, whatever the seed, and an image that is added to a part moves few others.
    """

    fraction: float
    wanted: bool

    def __str__(self) -> str:
        share = f"{self.fraction:.3g}"
        return f"{share} of it held out" if self.wanted else f"without the {share} held out"

    def places(self, images: Sequence[Entry]) -> NDArray[np.int64]:
        """Where those images are in the list, rising; at least one is held out, and one is not.

        Raises:
            UserError: there are not two.
        """
        if len(images) < 2:
            raise UserError(f"a part to be split must hold two images or more, got {len(images)}")
        count = min(max(1, round(self.fraction * len(images))), len(images) - 1)
        names = (image["file_name"].encode("utf-8", "surrogateescape") for image in images)
        ranked = sorted(
            range(len(images)), key=[sha256(name).digest() for name in names].__getitem__
        )
        chosen = ranked[:count] if self.wanted else ranked[count:]
        return np.array(sorted(chosen), np.int64)
