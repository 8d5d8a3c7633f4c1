"""Grids of pictures with the captions they were made from."""

from collections.abc import Sequence
from pathlib import Path

import torch

from textbloom.viz.sheet import Row, Sheet

PROGRESS_ROWS = 12


def caption_grid(images: torch.Tensor, captions: Sequence[str], path: Path, columns: int, title: str = "") -> None:
    """Write pictures uint8 [n, 3, S, S], each with its caption beneath, `columns` a row, as a PNG."""
    assert len(images) == len(captions) > 0
    rows = [
        Row(images[start : start + columns], beneath=captions[start : start + columns])
        for start in range(0, len(images), columns)
    ]
    Sheet(rows, title=title, gap=26, row_gap=24).save(path)


def progress_sheet(rows: Sequence[tuple[int, torch.Tensor]], captions: Sequence[str], path: Path) -> None:
    """Write a PNG with one row an epoch: (epoch, uint8 [c, 3, S, S]), the captions [c] over the columns.

    Of more than 12 epochs, 12 are shown, evenly spread, the first and the last always.
    """
    assert rows and all(len(pictures) == len(captions) for _, pictures in rows)
    shown = sorted({round(i * (len(rows) - 1) / (PROGRESS_ROWS - 1)) for i in range(PROGRESS_ROWS)})
    strips = [Row(rows[index][1], left=f"epoch {rows[index][0]}") for index in shown]
    Sheet(strips, headings=captions, tile=160, gap=16, row_gap=16).save(path)
