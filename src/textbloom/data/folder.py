"""A person's own pictures as the download stage packed them: `own_pictures` says what a folder may look like."""

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from textbloom.core.errors import UserError
from textbloom.data import archives
from textbloom.data.base import Entry, Photo

PICTURES = "pictures.tar.gz"  # pictures/<image id, six digits or more>.<suffix>
CAPTIONS = "captions.csv"

_PICTURE = re.compile(r"pictures/(\d{6,})\.[a-z]+")


class Row(NamedTuple):
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


def published_split(folder: Path, how: str, entries: Sequence[Entry]) -> dict[int, str]:
    """Nobody published a division of a person's own pictures: raises UserError, whatever `how`."""
    raise UserError(f"data.split: a folder has no split {how!r}; take random, random-classes or none")


def verify(folder: Path) -> None:
    """Read table and pictures to their end; UserError where they are not of the same pictures."""
    packed = {photo.image_id for photo in photos(folder)}
    odd = sorted(packed ^ {row.image_id for row in _rows(folder)})
    if odd:
        raise UserError(f"{PICTURES} and {CAPTIONS} differ in image {odd[0]}: {archives.MEND}")


def _rows(folder: Path) -> Iterator[Row]:
    try:
        with open(folder / CAPTIONS, encoding="utf-8", newline="") as file:
            rows = csv.reader(file, strict=True)
            next(rows, None)  # the header
            for image_id, class_id, *texts in rows:
                yield Row(int(image_id), int(class_id), *texts)
    except FileNotFoundError:
        raise UserError(f"{CAPTIONS} is missing: {archives.MEND}") from None
    except (ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{CAPTIONS} is damaged ({error}): {archives.MEND}") from None
