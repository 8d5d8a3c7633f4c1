"""Text on a picture: one typeface, lines that fit a width, an ellipsis where they do not fit a height."""

from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import matplotlib
from PIL import ImageDraw, ImageFont

LINE_HEIGHT = 1.36  # of the font size
Colour = tuple[int, int, int]


@cache
def font(size: int, face: str = "DejaVuSans") -> ImageFont.FreeTypeFont:
    """DejaVu Sans in `size` pixels, from the copy inside matplotlib: the same letters on every machine."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"
    # The basic layout needs no library outside Pillow's own; the other would move letters where it is installed.
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def wrap(text: str, typeface: ImageFont.FreeTypeFont, width: int, lines: int) -> list[str]:
    """Break `text` into at most `lines` lines of at most `width` pixels; what is left out becomes an ellipsis.

    White space counts as one blank. A word wider than a line is broken within.
    """
    broken: list[str] = []
    for word in (piece for long in text.split() for piece in _pieces(long, typeface, width)):
        if broken and typeface.getlength(f"{broken[-1]} {word}") <= width:
            broken[-1] = f"{broken[-1]} {word}"
        else:
            broken.append(word)
        if len(broken) > lines:
            break
    if len(broken) > lines:
        broken = [*broken[: lines - 1], _ellipsised(broken[lines - 1], typeface, width)]
    return broken


def _pieces(word: str, typeface: ImageFont.FreeTypeFont, width: int) -> Iterator[str]:
    while typeface.getlength(word) > width and len(word) > 1:
        lengths = range(1, len(word))
        fitting = bisect_right(lengths, float(width), key=lambda length: typeface.getlength(word[:length]))
        fitting = max(1, fitting)
        yield word[:fitting]
        word = word[fitting:]
    yield word


def _ellipsised(line: str, typeface: ImageFont.FreeTypeFont, width: int) -> str:
    # Whole words go; only a word that fills the line alone is cut.
    while typeface.getlength(f"{line}…") > width and len(line) > 1:
        line = line.rpartition(" ")[0] or line[:-1]
    return f"{line.rstrip(',.;:')}…"


def height(lines: int, typeface: ImageFont.FreeTypeFont) -> int:
    """Pixels that a block of `lines` lines takes."""
    return lines * round(LINE_HEIGHT * typeface.size)


def write(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    lines: list[str],
    typeface: ImageFont.FreeTypeFont,
    colour: Colour,
) -> None:
    """Write a block of lines whose upper left corner is (x, y)."""
    x, y = corner
    for number, line in enumerate(lines):
        # Lines hang from the ascender, so that their distance does not depend on their letters.
        draw.text((x, y + height(number, typeface)), line, fill=colour, font=typeface, anchor="la")
