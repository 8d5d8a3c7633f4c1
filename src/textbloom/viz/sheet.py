"""The page that every picture of the pipeline is laid out on: rows of pictures with text around them.

matplotlib draws it, with its own copy of DejaVu Sans and its default settings whatever the machine has, so that equal
sheets are equal files. Pictures are enlarged by a whole number and stand on the page pixel for pixel.
"""

import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, get_font
from matplotlib.transforms import IdentityTransform
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from textbloom.core.files import replacing

FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
NO_GLYPH = "□"
NAMED = 20  # characters without a glyph
INK, QUIET = "#202024", "#707078"

# Everything is in pixels: at 72 dots an inch, matplotlib's point is one.
DPI = 72
TEXT, TITLE = 15, 25  # sizes of the letters
MARGIN = 36
SIDE_WIDTH, SIDE_GAP = 196, 22  # of the text at the sides of a row
APART = 22
BENEATH_LINES, HEADING_LINES = 6, 7


@dataclass(frozen=True)
class Row:
    """Pictures uint8 [c, 3, S, S] (RGB) side by side, with text at both sides of the row and beneath each picture.

    tags: short texts, each in a grey line between its picture and the text beneath it.
    """

    pictures: Tensor
    left: str = ""
    right: str = ""
    beneath: Sequence[str] = ()
    tags: Sequence[str] = ()


@dataclass(frozen=True)
class Sheet:
    """Rows of pictures under a title. All pictures have one size; rows may differ in length.

    note: grey text under the title.
    headings: texts over the columns; one before empty ones may be as wide as their columns too.
    tile: the wanted side of a picture in pixels; the nearest whole multiple of S is taken.
    gap, row_gap: the white between pictures and between rows, in pixels.
    first_apart: whether the first column stands apart from the others.
    """

    rows: Sequence[Row]
    title: str = ""
    note: str = ""
    headings: Sequence[str] = ()
    tile: int = 192
    gap: int = 8
    row_gap: int = 8
    first_apart: bool = False

    def save(self, path: Path, about: PngInfo | None = None) -> None:
        """Write the sheet as PNG, whole or absent, with what the file says `about` itself.

        Characters that the font lacks are named in one line on stderr.
        """
        texts = [self.title, self.note, *self.headings]
        for row in self.rows:
            texts += [row.left, row.right, *row.beneath, *row.tags]
        missing = sorted(set("".join("".join(texts).split())) - _glyphs())
        if missing:
            named = " ".join(missing[:NAMED]) + (f" and {len(missing) - NAMED} more" if len(missing) > NAMED else "")
            print(f"sheet: no glyph for {named}, drawn as {NO_GLYPH} in {path}", file=sys.stderr)
        # From the library's defaults: a matplotlibrc on the machine must not change the bytes.
        with style.context("default"), replacing(path) as temporary:
            canvas = FigureCanvasAgg(self._drawn())
            canvas.draw()
            page = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
            page.save(temporary, format="PNG", compress_level=9, pnginfo=about)

    def _drawn(self) -> Figure:
        size = self.rows[0].pictures.shape[-1]
        tile = size * max(1, round(self.tile / size))
        columns = max(len(row.pictures) for row in self.rows)
        left = [wrap(row.left, SIDE_WIDTH, tile // line_height(TEXT)) for row in self.rows]
        right = [wrap(row.right, SIDE_WIDTH, tile // line_height(TEXT)) for row in self.rows]
        x0 = MARGIN + (_widest(left) + SIDE_GAP if any(left) else 0)
        xs = [x0 + n * (tile + self.gap) + (APART if self.first_apart and n > 0 else 0) for n in range(columns)]
        x1 = xs[-1] + tile
        width = x1 + (SIDE_GAP + _widest(right) if any(right) else 0) + MARGIN

        # The figure is filled from the top down: heights are negative until the page's own is known.
        figure, pictures = Figure(dpi=DPI), []
        y = self._draw_head(figure, xs, tile, width - 2 * MARGIN)
        for row, *sides in zip(self.rows, left, right, strict=True):
            for x, lines in zip((MARGIN, x1 + SIDE_GAP), sides, strict=True):
                _write(figure, x, y + (tile - len(lines) * line_height(TEXT)) // 2, lines)
            for x, picture in zip(xs, row.pictures, strict=False):
                pictures.append((_enlarged(picture, tile), x, y + tile))
            y += tile + (8 if row.tags or row.beneath else 0)
            for texts, most, colour in ((row.tags, 1, QUIET), (row.beneath, BENEATH_LINES, INK)):
                blocks = [wrap(text, tile, most) for text in texts]
                y = max([y, *(_write(figure, x, y, lines, colour) for x, lines in zip(xs, blocks, strict=False))])
            y += self.row_gap
        height = y - self.row_gap + MARGIN
        figure.set_size_inches(width / DPI, height / DPI)
        for text in figure.texts:
            text.set_y(height + text.get_position()[1])
        for picture, x, bottom in pictures:
            figure.figimage(picture, x, height - bottom)
        return figure

    def _draw_head(self, figure: Figure, xs: Sequence[int], tile: int, width: int) -> int:
        """Title, note and headings; returns where the first row begins."""
        y = MARGIN
        if self.title or self.note:
            y = _write(figure, MARGIN, y - 6, wrap(self.title, width, 2, TITLE), size=TITLE)
            y = _write(figure, MARGIN, y + 6, wrap(self.note, width, 6), QUIET) + 24
        starts = [column for column, text in enumerate(self.headings) if text]
        if starts:
            ends = [*starts[1:], len(xs)]
            widths = [xs[end - 1] + tile - xs[start] for start, end in zip(starts, ends, strict=True)]
            blocks = [wrap(self.headings[n], width, HEADING_LINES) for n, width in zip(starts, widths, strict=True)]
            y += max(len(lines) for lines in blocks) * line_height(TEXT)
            for start, lines in zip(starts, blocks, strict=True):
                _write(figure, xs[start], y - len(lines) * line_height(TEXT), lines, QUIET)
            y += 8
        return y


def _write(figure: Figure, x: int, y: int, lines: Sequence[str], colour: str = INK, size: int = TEXT) -> int:
    """Write a block of lines whose upper left corner is `y` below the page's top; returns where it ends."""
    for line in lines:
        # One text a line: in matplotlib's own blocks the distance of the lines depends on their letters.
        base = -y - round(0.93 * size)
        text = figure.text(x, base, line, font=_font(size), color=colour, va="baseline", parse_math=False)
        text.set_transform(IdentityTransform())
        y += line_height(size)
    return y


def _enlarged(picture: Tensor, side: int) -> np.ndarray:
    image = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
    return np.asarray(image.resize((side, side), Image.Resampling.LANCZOS))


def wrap(text: str, width: int, lines: int, size: int = TEXT) -> list[str]:
    """Break `text` into at most `lines` lines of at most `width` pixels; an ellipsis stands for what is left out."""
    shown = "".join(letter if letter in _glyphs() else NO_GLYPH for letter in " ".join(text.split()))
    # textwrap counts letters, whatever their width: take the most with which every line fits.
    letters = int(width / (0.4 * size))
    while True:
        broken = textwrap.wrap(shown, letters, max_lines=lines, placeholder="…")
        if all(text_width(line, size) <= width for line in broken):
            return broken
        letters -= 1


def text_width(line: str, size: int = TEXT) -> float:
    """Pixels that a line of text takes across."""
    return _renderer().get_text_width_height_descent(line, _font(size), ismath=False)[0]


def line_height(size: int) -> int:
    """Pixels from one line of text to the next."""
    return round(1.36 * size)


def _widest(blocks: Sequence[Sequence[str]]) -> int:
    return round(max(text_width(line) for lines in blocks for line in lines))


@cache
def _glyphs() -> frozenset[str]:
    return frozenset(map(chr, get_font(str(FONT)).get_charmap()))


@cache
def _font(size: int) -> FontProperties:
    return FontProperties(fname=FONT, size=size)


@cache
def _renderer() -> RendererAgg:
    return RendererAgg(1, 1, DPI)  # only measures
