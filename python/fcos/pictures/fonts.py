"""Text in pictures, in any language that a font of this system has."""

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw, ImageFont, features

_OTHER_STYLES = ("Bold", "Italic", "Oblique", "Light", "Thin", "Black", "Condensed", "Mono")
_Font = ImageFont.FreeTypeFont


class Text(NamedTuple):
    """A line of text at a size.

    Attributes:
        runs: pieces from left to right, each with its font and the pixels before it.
        width: pixels.
        top, bottom: pixels above and below the baseline.
    """

    runs: tuple[tuple[str, _Font, int], ...]
    width: int
    top: int
    bottom: int

    @property
    def height(self) -> int:
        return self.top + self.bottom

    def draw(self, draw: ImageDraw.ImageDraw, x: float, y: float, fill: str) -> None:
        """With its upper left corner at (x, y)."""
        for piece, font, before in self.runs:
            draw.text((x + before, y + self.top), piece, fill=fill, font=font, anchor="ls")


@lru_cache(8192)
def lay_out(text: str, size: int, most: int | None = None) -> Text:
    """A line of text in fonts of `size` pixels; characters that no font has become boxes.

    Args:
        most: its width in pixels; a longer text is cut, and ends with dots.
    """
    text = one_line(text)
    whole = _runs(text, size)
    if most is None or whole.width <= most:
        return whole
    kept = len(text)
    while kept > 1:
        kept = min(kept - 1, kept * most // max(1, _runs(text[:kept] + "...", size).width))
        if (shorter := _runs(text[: max(1, kept)] + "...", size)).width <= most:
            return shorter
    return _runs("", size)


@lru_cache(8192)
def can_draw(text: str) -> bool:
    """Whether fonts of this system have every character, and Pillow can join them as the script
    wants it: from right to left, with marks above and below."""
    text = one_line(text)
    control = any(unicodedata.category(c) in ("Cc", "Cn", "Co", "Cs") for c in text)
    if not text or control or (_is_complex(text) and not features.check("raqm")):
        return False
    return all(_font_file(word) is not None for word in _words(text))


def can_plot(text: str) -> bool:
    """`can_draw`, by matplotlib, which joins letters itself from version 3.11 on."""
    from matplotlib import ft2font

    joins = hasattr(ft2font, "__libraqm_version__")
    return can_draw(text) and (joins or not _is_complex(one_line(text)))


def families(texts: Iterable[str]) -> list[str]:
    """The names by which matplotlib finds the fonts of these texts, its own font first: the others
    have what that has not."""
    from matplotlib.font_manager import FontEntry, fontManager

    own = _own_font()
    words = (word for text in texts for word in _words(one_line(text)))
    files = dict.fromkeys((own, *(_font_file(word) or own for word in words)))
    known = {entry.name for entry in fontManager.ttflist}
    # by their paths: of a family matplotlib would choose another style, or warn that it has none
    fontManager.ttflist += [
        FontEntry(fname=file, name=file, size="scalable") for file in files if file not in known
    ]
    return list(files)


def one_line(text: str) -> str:
    """Letters with their accents as one character, where there is such a one; one line."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _is_complex(text: str) -> bool:
    return any(
        unicodedata.bidirectional(c) in ("R", "AL") or unicodedata.category(c) in ("Mn", "Mc", "Cf")
        for c in text
    )


def _words(text: str) -> list[str]:
    """The whole where one font has it, which may then order its words itself; else its words."""
    return [text] if _font_file(text) is not None else text.split(" ")


def _runs(text: str, size: int) -> Text:
    files = ((_font_file(word) or _own_font(), word) for word in _words(text))
    joined = [(file, [word for _, word in own]) for file, own in groupby(files, lambda p: p[0])]
    runs, before, top, bottom = [], 0, 0, 0
    for place, (file, words) in enumerate(joined):
        font = _load(file, size)
        piece = " ".join(words) + (" " if place < len(joined) - 1 else "")
        _, above, _, below = font.getbbox(piece, anchor="ls")
        runs.append((piece, font, before))
        before += round(font.getlength(piece))
        top, bottom = max(top, round(-above)), max(bottom, round(below))
    least = round(0.75 * size)  # captions of letters without tails are as high as others
    return Text(tuple(runs), before, max(top, least), max(bottom, size // 5))


@lru_cache(256)
def _load(file: str, size: int) -> _Font:
    font = ImageFont.truetype(file, size)
    # a font of several weights begins with the thinnest; ValueError: it has no name for this one
    with contextlib.suppress(OSError, ValueError):
        font.set_variation_by_name("Regular")
    return font


@lru_cache(8192)
def _font_file(text: str) -> str | None:
    """A font that has all characters of a text, or None."""
    codes = np.array([ord(c) for c in text if unicodedata.category(c) != "Cf"], np.uint32)
    own = _own_font()
    if _has(own, codes):
        return own
    # one after the other, as to read all of a system takes seconds
    return next((file for file in _system_fonts() if _has(file, codes)), None)


def _has(file: str, codes: NDArray[np.uint32]) -> bool:
    """Whether a font has all of these characters."""
    known = _characters(file)
    if not known.size:
        return False
    nearest = known.take(np.searchsorted(known, codes), mode="clip")
    return bool((nearest == codes).all())


@lru_cache(1)
def _own_font() -> str:
    """The one that matplotlib brings along: Latin, Greek, Cyrillic, Hebrew, Arabic, everywhere."""
    import matplotlib

    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))


@lru_cache(1)
def _system_fonts() -> list[str]:
    """Plain ones before others, without those that have a placeholder for each character."""
    from matplotlib import font_manager

    files = [file for file in font_manager.findSystemFonts() if "LastResort" not in file]
    return sorted(files, key=lambda file: (not _is_plain(file), file))


def _is_plain(file: str) -> bool:
    return not any(word in Path(file).stem for word in _OTHER_STYLES)


@lru_cache(None)
def _characters(file: str) -> NDArray[np.uint32]:
    """That a font has, sorted; none where it is damaged, or of one size alone, as emoji are."""
    from matplotlib.ft2font import FT2Font

    try:
        ImageFont.truetype(file, 12)
        return np.array(sorted(FT2Font(file).get_charmap()), np.uint32)
    except (OSError, RuntimeError, ValueError):
        return np.empty(0, np.uint32)
