"""Outlines of boxes, in lines that are told apart without their colours."""

from __future__ import annotations

from typing import Literal

from PIL import ImageDraw

Line = Literal["solid", "dashed", "dotted", "hatched", "thin"]
Colour = tuple[int, int, int]
Corners = tuple[float, float, float, float]

_DASHES = {"dashed": (5, 4), "dotted": (1, 2), "hatched": (5, 4)}  # line and gap, in thicknesses
_BETWEEN_HATCHES = 16  # in thicknesses


def draw_outline(
    draw: ImageDraw.ImageDraw, corners: Corners, line: Line, colour: Colour, thickness: int
) -> None:
    """Around a box, so that it hides nothing of a small object; upon black, for bright images."""
    if line == "thin":
        thickness = 1
    if line == "hatched":
        _hatch(draw, corners, colour, _BETWEEN_HATCHES * thickness)
    _rectangle(draw, corners, (0, 0, 0), thickness + 1)
    if line not in _DASHES:
        _rectangle(draw, corners, colour, thickness)
        return
    dash, gap = (part * thickness for part in _DASHES[line])
    x1, y1, x2, y2 = corners
    last = thickness - 1
    for start in _starts(x1, x2, dash, gap):
        end = min(start + dash, x2)
        draw.rectangle((start, y1 - last, end, y1), fill=colour)
        draw.rectangle((start, y2, end, y2 + last), fill=colour)
    for start in _starts(y1, y2, dash, gap):
        end = min(start + dash, y2)
        draw.rectangle((x1 - last, start, x1, end), fill=colour)
        draw.rectangle((x2, start, x2 + last, end), fill=colour)


def _rectangle(draw: ImageDraw.ImageDraw, corners: Corners, colour: Colour, thickness: int) -> None:
    x1, y1, x2, y2 = corners
    reach = thickness - 1
    outer = (x1 - reach, y1 - reach, x2 + reach, y2 + reach)
    draw.rectangle(outer, outline=colour, width=thickness)


def _starts(first: float, last: float, dash: int, gap: int) -> list[float]:
    return [first + i * (dash + gap) for i in range(int((last - first) // (dash + gap)) + 1)]


def _hatch(draw: ImageDraw.ImageDraw, corners: Corners, colour: Colour, step: int) -> None:
    """Diagonal lines across the box."""
    x1, y1, x2, y2 = corners
    width, height = x2 - x1, y2 - y1
    for shift in range(step, int(width + height), step):
        begin = (x1 + min(shift, width), y1 + max(0, shift - width))
        end = (x1 + max(0, shift - height), y1 + min(shift, height))
        draw.line((begin, end), fill=colour, width=1)
