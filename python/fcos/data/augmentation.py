"""What a training does to images at random: another size, mirrored, other colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageEnhance


class Colours(NamedTuple):
    """A change of colours, in this order: brightness, contrast and saturation by a factor, hue by a
    part of a turn.

    As torchvision's ColorJitter defines them for images of Pillow, with Pillow's own functions: an
    image is blended with black, with the mean of its grey values, or with its grey values, so that
    a factor of 1 leaves it as it was; hue is that of HSV.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float

    def apply(self, image: Image.Image) -> Image.Image:
        """The RGB image in these colours."""
        image = ImageEnhance.Brightness(image).enhance(self.brightness)
        image = ImageEnhance.Contrast(image).enhance(self.contrast)
        image = ImageEnhance.Color(image).enhance(self.saturation)
        turn = int(self.hue * 255)  # as torchvision counts, though a turn has 256 steps
        turned = [(hue + turn) % 256 for hue in range(256)]
        return image.convert("HSV").point([*turned, *range(256), *range(256)]).convert("RGB")


class View(NamedTuple):
    """How one image is seen: mirrored or not, with its short side at `size` pixels or, if None, at
    that of the preprocessing, in other colours or, if None, in its own."""

    flip: bool = False
    size: int | None = None
    colours: Colours | None = None


AS_IT_IS = View()
DRAWS = 6  # random numbers that decide a view


class Augmentation(NamedTuple):
    """What views are drawn from, for every image anew.

    Attributes:
        flip: probability of a horizontal flip.
        scales: short sides, all as likely as each other; empty: that of the preprocessing. Its
            limit of the long side holds for each of them.
        colour_jitter: strength s from 0, which is off, to 1. Contrast and saturation are drawn from
            1 - s to 1 + s, brightness from 1 - s / 4 to 1 + s / 4, hue from -s / 10 to s / 10. At
            0.5 these are the ranges of SSD (Liu et al. 2016), as torchvision's
            RandomPhotometricDistort has them; that draws each change with a probability of 0.5.
    """

    flip: float = 0.5
    scales: Sequence[int] = ()
    colour_jitter: float = 0.0

    def view(self, draws: Sequence[float]) -> View:
        """The view that DRAWS numbers from 0 to below 1 stand for. Each has its own, so that what
        is switched on or off changes nothing about the rest."""
        flip, scale, *colours = draws
        size = self.scales[int(scale * len(self.scales))] if self.scales else None
        return View(flip < self.flip, size, self._colours(*colours))

    def _colours(
        self, brightness: float, contrast: float, saturation: float, hue: float
    ) -> Colours | None:
        strength = self.colour_jitter
        if not strength:
            return None

        def around(middle: float, draw: float, reach: float) -> float:
            return middle + (2 * draw - 1) * reach

        return Colours(
            around(1, brightness, strength / 4),
            around(1, contrast, strength),
            around(1, saturation, strength),
            around(0, hue, strength / 10),
        )
