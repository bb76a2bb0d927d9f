"""Types of options: what a text must be, or else the usage and one line say so."""

from __future__ import annotations

import argparse
import math
from fractions import Fraction

from ..data.scales import parse_scales
from ..errors import UserError, brief


class Number:
    """The type of an option: a number in a range, whole or not."""

    def __init__(
        self,
        kind: type[int] | type[float],
        least: float,
        most: float,
        *,
        open_ends: bool = False,
        or_zero: bool = False,
    ) -> None:
        self.kind, self.least, self.most = kind, least, most
        self.open, self.or_zero = open_ends, or_zero

    def __call__(self, text: str) -> float:
        try:
            value = self.kind(text)
        except ValueError:
            value = math.nan
        inside = self.least < value < self.most if self.open else self.least <= value <= self.most
        if not inside and not (self.or_zero and value == 0):
            raise argparse.ArgumentTypeError(f"must be {self}, got {brief(text)}")
        return value

    def __str__(self) -> str:
        noun = "a whole number" if self.kind is int else "a number"
        if self.open:
            return f"{'0 or ' * self.or_zero}{noun} above {self.least:g} and below {self.most:g}"
        return f"{'0 or ' * self.or_zero}{noun} from {self.least:g} to {self.most:g}"


class Milestones:
    """The type of an option: numbers that rise, such as 2/3,8/9 or 60000,80000."""

    def __call__(self, text: str) -> tuple[float, ...]:
        try:
            numbers = tuple(float(Fraction(item.strip())) for item in text.split(","))
        except (ValueError, ArithmeticError):
            numbers = ()
        rising = all(low < high for low, high in zip(numbers, numbers[1:], strict=False))
        mixed = numbers and numbers[0] < 1 <= numbers[-1]
        if not numbers or numbers[0] <= 0 or not rising or mixed:
            expected = "rising shares of the steps, such as 2/3,8/9, or steps, such as 60000,80000"
            raise argparse.ArgumentTypeError(f"must be {expected}, got {text!r}")
        return numbers


POSITIVE = Number(int, 1, 10**9)
COUNT = Number(int, 0, 10**9)
WORKERS = Number(int, 0, 1000)
THREADS = Number(int, 1, 1000)
CHANNELS = Number(int, 1, 1 << 16)
DEPTH = Number(int, 1, 1000)
SIDE = Number(int, 1, 100_000)
SEED = Number(int, 0, 2**32 - 1)
RATE = Number(float, 0, 1e6, open_ends=True)
AMOUNT = Number(float, 0, 1e6)
EPOCHS = Number(float, 1e-3, 1e6, or_zero=True)
PROBABILITY = Number(float, 0, 1)
FRACTION = Number(float, 0, 1, open_ends=True, or_zero=True)
FACTOR = Number(float, 0, 1000)
DETECTIONS = Number(int, 1, 1000)
LEFT_OUT = argparse.SUPPRESS  # given_values then sees what the command line says itself


def scales(text: str) -> str:
    """The type of --scales: the text itself, once it can be read."""
    try:
        parse_scales(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("scales ")) from error
    return text
