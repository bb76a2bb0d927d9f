"""Colours change as torchvision's ColorJitter changes them, to the last level."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.torchvision
functional: Any = pytest.importorskip(
    "torchvision.transforms.functional", reason="torchvision not installed"
)

from fcos.data.augmentation import Colours  # noqa: E402


@pytest.mark.parametrize("seed", range(20))
def test_colours(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (40, 60, 3)).astype(np.uint8))
    colours = Colours(*rng.uniform(0, 2, 3).tolist(), rng.uniform(-0.1, 0.1))
    expected = functional.adjust_brightness(image, colours.brightness)
    expected = functional.adjust_contrast(expected, colours.contrast)
    expected = functional.adjust_saturation(expected, colours.saturation)
    expected = functional.adjust_hue(expected, colours.hue)
    assert np.array_equal(np.asarray(colours.apply(image)), np.asarray(expected))
