"""Which images are prepared, and in what order. Plain csv: the processes that decode import this, and start fast."""

import csv
from collections.abc import Iterable
from pathlib import Path

from textbloom.core.errors import UserError
from textbloom.core.files import write_text


def captioned(captions: Path) -> list[int]:
    """The ids of captions.csv, each once, ascending. A missing file is a UserError."""
    try:
        with open(captions, encoding="utf-8", newline="") as file:
            return sorted({int(row["image_id"]) for row in csv.DictReader(file)})
    except FileNotFoundError:
        raise UserError(f"{captions} is missing: run `make repro`, which makes it") from None


def write(path: Path, image_ids: Iterable[int]) -> None:
    """image_ids.csv, which names the rows of images.safetensors; `tensors.load_image_ids` reads it."""
    write_text(path, "\n".join(["image_id", *map(str, image_ids)]) + "\n")
