"""A person's own pictures as the download stage packed them; `textbloom.sources.folder` says what a folder may hold."""

import csv
import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from textbloom.core.errors import UserError
from textbloom.data import archives
from textbloom.data.base import Entry, Photo

PICTURES = "pictures.tar.gz"  # pictures/<image id, six digits or more>.<suffix>
CAPTIONS = "captions.csv"
PUBLISHED_SPLITS: Mapping[str, Any] = {}  # nobody published a division of a person's own pictures

_PICTURE = re.compile(r"pictures/(\d{6,})\.[a-z]+")


class CaptionRow(NamedTuple):
    """One caption of the table beside the pictures; `file` is where the picture lay in the person's folder."""

    image_id: int
    class_id: int
    class_name: str
    file: str
    caption: str


def photos(folder: Path) -> Iterator[Photo]:
    """Every picture, sorted by id, named as in the person's folder."""
    files = {row.image_id: row.file for row in _rows(folder)}
    for match, data in archives.members(folder / PICTURES, _PICTURE):
        image_id = int(match[1])
        yield Photo(image_id, files.get(image_id, match[0]), data)


def entries(folder: Path) -> list[Entry]:
    """Every picture with its captions, sorted by id. Classes count from 1 in the order of their names, 0 is none."""
    return [
        Entry(image_id, class_id, tuple(row.caption for row in rows))
        for (image_id, class_id), rows in groupby(_rows(folder), lambda row: (row.image_id, row.class_id))
    ]


def _rows(folder: Path) -> Iterator[CaptionRow]:
    try:
        with open(folder / CAPTIONS, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, strict=True):
                yield CaptionRow(
                    int(row["image_id"]), int(row["class_id"]), row["class_name"], row["file"], row["caption"]
                )
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise UserError(f"{CAPTIONS} cannot be read ({error}): {archives.MEND}") from None
