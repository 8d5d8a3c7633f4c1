"""The page that every picture of the pipeline is laid out on: rows of pictures with text at their sides."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from textbloom.core.files import replacing
from textbloom.viz import typesetting

PAPER = (255, 255, 255)
INK = (32, 32, 36)
QUIET = (112, 112, 120)

# Pixels.
MARGIN = 36
TITLE, TEXT = 25, 15
BENEATH_LINES, HEADING_LINES = 5, 6
SIDE_WIDTH, SIDE_GAP = 196, 22
APART = 22


@dataclass(frozen=True)
class Row:
    """Pictures uint8 [c, 3, S, S] (RGB) side by side, with text beside the row and beneath each picture.

    `tags` are short: one quiet line between each picture and the text beneath it.
    """

    pictures: torch.Tensor
    left: str = ""
    right: str = ""
    beneath: Sequence[str] = ()
    tags: Sequence[str] = ()


@dataclass(frozen=True)
class Sheet:
    """Rows of pictures under a title. All pictures have one size; rows may differ in length.

    `headings` stand over the columns; an empty one leaves its room to the heading before it. `tile` is the wanted side
    of a picture in pixels: the nearest whole multiple of S is taken. `gap` and `row_gap` are the white between pictures
    and between rows, in pixels; `first_apart` sets the first column off from the others.
    """

    rows: Sequence[Row]
    title: str = ""
    note: str = ""
    headings: Sequence[str] = ()
    tile: int = 192
    gap: int = 8
    row_gap: int = 8
    first_apart: bool = False

    def save(self, path: Path) -> None:
        """Write the sheet as PNG, whole or absent. Equal sheets give equal bytes."""
        image = _Page(self).drawn()
        with replacing(path) as temporary:
            image.save(temporary, format="PNG", compress_level=9)


class _Page:
    """A sheet with its text broken into lines and the place of everything settled."""

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        size = sheet.rows[0].pictures.shape[-1]
        self.tile = size * max(1, round(sheet.tile / size))
        self.columns = max(len(row.pictures) for row in sheet.rows)
        self.font = typesetting.font(TEXT)
        self.title_font = typesetting.font(TITLE)

        in_tile = max(1, self.tile // typesetting.height(1, self.font))
        self.left = [self._lines(row.left, SIDE_WIDTH, in_tile) for row in sheet.rows]
        self.right = [self._lines(row.right, SIDE_WIDTH, in_tile) for row in sheet.rows]
        self.tags = [[self._lines(text, self.tile, 1) for text in row.tags] for row in sheet.rows]
        self.beneath = [[self._lines(text, self.tile, BENEATH_LINES) for text in row.beneath] for row in sheet.rows]

        left_width = self._width(self.left)
        self.x0 = MARGIN + (left_width + SIDE_GAP if left_width else 0)
        self.x1 = self._x(self.columns - 1) + self.tile
        right_width = self._width(self.right)
        self.width = self.x1 + (SIDE_GAP + right_width if right_width else 0) + MARGIN
        self.title = typesetting.wrap(sheet.title, self.title_font, self.width - 2 * MARGIN, 2)
        self.note = self._lines(sheet.note, self.width - 2 * MARGIN, 6)
        self.headings = [
            self._lines(text, self._heading_width(column), HEADING_LINES) for column, text in enumerate(sheet.headings)
        ]

    def _lines(self, text: str, width: int, lines: int) -> list[str]:
        return typesetting.wrap(text, self.font, width, lines)

    def _width(self, blocks: list[list[str]]) -> int:
        return max((round(self.font.getlength(line)) for block in blocks for line in block), default=0)

    def _height(self, blocks: Sequence[list[str]]) -> int:
        return typesetting.height(max((len(block) for block in blocks), default=0), self.font)

    def _x(self, column: int) -> int:
        apart = APART if self.sheet.first_apart and column > 0 else 0
        return self.x0 + column * (self.tile + self.sheet.gap) + apart

    def _heading_width(self, column: int) -> int:
        after = self.sheet.headings[column + 1 :]
        empty = next((number for number, text in enumerate(after) if text), len(after))
        return self._x(column + empty) + self.tile - self._x(column)

    def drawn(self) -> Image.Image:
        top = self._head_height()
        beneath = [
            self._height(tags) + self._height(blocks) + (8 if tags or blocks else 0)
            for tags, blocks in zip(self.tags, self.beneath, strict=True)
        ]
        tops = [top]
        for extra in beneath:
            tops.append(tops[-1] + self.tile + extra + self.sheet.row_gap)
        image = Image.new("RGB", (self.width, tops[-1] - self.sheet.row_gap + MARGIN), PAPER)
        draw = ImageDraw.Draw(image)
        self._draw_head(draw, top)
        for number in range(len(self.sheet.rows)):
            self._draw_row(image, draw, number, tops[number])
        return image

    def _head_height(self) -> int:
        height = MARGIN
        if self.title:
            height += typesetting.height(len(self.title), self.title_font) + 6
        if self.note:
            height += typesetting.height(len(self.note), self.font)
        if self.title or self.note:
            height += 18
        if self.headings:
            height += self._height(self.headings) + 8
        return height

    def _draw_head(self, draw: ImageDraw.ImageDraw, bottom: int) -> None:
        typesetting.write(draw, (MARGIN, MARGIN - 6), self.title, self.title_font, INK)
        below_title = MARGIN + (typesetting.height(len(self.title), self.title_font) + 6 if self.title else 0)
        typesetting.write(draw, (MARGIN, below_title - 6), self.note, self.font, QUIET)
        for column, lines in enumerate(self.headings):
            top = bottom - 8 - typesetting.height(len(lines), self.font)
            typesetting.write(draw, (self._x(column), top), lines, self.font, QUIET)

    def _draw_row(self, image: Image.Image, draw: ImageDraw.ImageDraw, number: int, top: int) -> None:
        for column, picture in enumerate(self.sheet.rows[number].pictures):
            image.paste(_enlarged(picture, self.tile), (self._x(column), top))
        below = top + self.tile + 8
        for column, lines in enumerate(self.tags[number]):
            typesetting.write(draw, (self._x(column), below), lines, self.font, QUIET)
        for column, lines in enumerate(self.beneath[number]):
            corner = self._x(column), below + self._height(self.tags[number])
            typesetting.write(draw, corner, lines, self.font, INK)
        for x, lines in ((MARGIN, self.left[number]), (self.x1 + SIDE_GAP, self.right[number])):
            middle = top + (self.tile - typesetting.height(len(lines), self.font)) // 2
            typesetting.write(draw, (x, middle), lines, self.font, INK)


def _enlarged(picture: torch.Tensor, side: int) -> Image.Image:
    array = picture.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array).resize((side, side), Image.Resampling.LANCZOS)
