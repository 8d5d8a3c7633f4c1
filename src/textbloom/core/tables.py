"""Tables that one stage writes for others: CSV, UTF-8, a header, every row whole and every field of its kind."""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from textbloom.core.errors import UserError
from textbloom.core.files import REMAKE, read_text

SPLITS = ("train", "val", "test")


def integer(text: str) -> int:
    """An integer of 64 bits as the stages write it. Raises ValueError for any other text."""
    number = int(text)
    if str(number) != text or not -(2**63) <= number < 2**63:
        raise ValueError(f"{text} is no integer")
    return number


def split(text: str) -> str:
    """One of SPLITS. Raises ValueError for any other text."""
    if text not in SPLITS:
        raise ValueError(f"there is no split {text!r}")
    return text


Columns = Mapping[str, Callable[[str], Any]]  # of each its name and the reader of its fields

# The columns of captions.csv, a row a caption, and of image_ids.csv, a row a picture of images.safetensors.
CAPTIONS: Columns = {"image_id": integer, "class_id": integer, "split": split, "caption_index": integer, "caption": str}
IMAGE_IDS: Columns = {"image_id": integer}


def read(path: Path, columns: Columns) -> dict[str, list[Any]]:
    """The columns of a table by their names. Raises UserError, naming file and line, for one that is not as written."""
    table = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    found: dict[str, list[Any]] = {name: [] for name in columns}
    try:
        if next(table, []) != list(columns):
            raise ValueError(f"expected the header {','.join(columns)}")
        for row in table:
            for (name, kind), text in zip(columns.items(), row, strict=True):
                found[name].append(kind(text))
    except (csv.Error, ValueError) as error:
        raise UserError(f"{path}: line {max(1, table.line_num)} is damaged ({error}): {REMAKE}") from None
    return found
