"""The tables of CUB-200-2011: the path, the class and the bounding box of each image."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from textbloom.core.errors import UserError
from textbloom.data import archives, caption_files
from textbloom.data.base import Box

IMAGES, LABELS, BOXES = TABLES = ("images.txt", "image_class_labels.txt", "bounding_boxes.txt")
CLASS = re.compile(r"(\d{3})\.[^/\s]+")  # a class as folders and lists name it, its id before the dot

_TABLE = re.compile(rf"(?:\./)?CUB_200_2011/(?P<name>{'|'.join(map(re.escape, TABLES))})")
_PATH = re.compile(rf"(?P<path>{CLASS.pattern}/[^/\s]+)\.jpg")

_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Bird:
    """What the tables say of one image."""

    image_id: int
    class_id: int
    box: Box


def read(path: Path) -> dict[str, Bird]:
    """Every image, sorted by id, under its path below images/ without the suffix: `001.Black_footed_Albatross/...`.

    The archive is read only as far as its last table. Raises UserError, naming table and line, for a line that does not
    parse, an empty box, an id or a path listed twice, an image that one table lacks, and one in another class's folder.
    """
    tables = _tables(path)
    paths = _rows(path, IMAGES, tables, _path, "an image's id and <class>/<name>.jpg")
    labels = _rows(path, LABELS, tables, _class_id, "an image's id and its class's")
    boxes = _rows(path, BOXES, tables, _box, "an image's id and the left, top, width and height of its box")
    for name, rows in ((LABELS, labels), (BOXES, boxes)):
        odd = sorted(paths.keys() ^ rows.keys())
        if odd:
            raise UserError(f"{path.name}: image {odd[0]} is only in one of {IMAGES} and {name}: complete the other")
    birds: dict[str, Bird] = {}
    for image_id in sorted(paths):
        _refuse_misplaced(path, image_id, paths[image_id], labels[image_id], birds)
        birds[paths[image_id]] = Bird(image_id, labels[image_id], boxes[image_id])
    return birds


def _tables(path: Path) -> dict[str, bytes]:
    tables: dict[str, bytes] = {}
    for match, data in archives.members(path, _TABLE):
        tables[match["name"]] = data
        if len(tables) == len(TABLES):
            return tables
    missing = next(name for name in TABLES if name not in tables)
    raise UserError(f"{path.name}: there is no CUB_200_2011/{missing} in it: it is another archive; {archives.MEND}")


def _rows(
    path: Path, name: str, tables: Mapping[str, bytes], parse: Callable[[list[str]], _Row], expected: str
) -> dict[int, _Row]:
    rows: dict[int, _Row] = {}
    for number, line in enumerate(caption_files.lines(tables[name], f"{path.name}: {name}"), start=1):
        if not line.strip():
            continue
        where = f"{path.name}: {name}: line {number}"
        try:
            first, *values = line.split()
            image_id, row = int(first), parse(values)
        except ValueError:
            raise UserError(f"{where}: expected {expected}; got {line.strip()!r}: correct the line") from None
        if image_id in rows:
            raise UserError(f"{where}: image {image_id} is listed already: keep one of the two lines")
        rows[image_id] = row
    return rows


def _path(values: list[str]) -> str:
    (value,) = values
    match = _PATH.fullmatch(value)
    if match is None:
        raise ValueError
    return match["path"]


def _class_id(values: list[str]) -> int:
    (value,) = values
    return int(value)


def _box(values: list[str]) -> Box:
    left, top, width, height = map(float, values)
    box = Box(left, top, width, height)
    if not all(map(math.isfinite, box)) or min(width, height) <= 0:
        raise ValueError
    return box


def _refuse_misplaced(path: Path, image_id: int, image: str, class_id: int, birds: Mapping[str, Bird]) -> None:
    if image in birds:
        raise UserError(
            f"{path.name}: {IMAGES}: {image}.jpg is image {birds[image].image_id} and image {image_id}: keep one"
        )
    folder = image.split("/")[0]
    if int(folder.split(".")[0]) != class_id:
        raise UserError(
            f"{path.name}: image {image_id} is filed under {folder}, but {LABELS} says class {class_id}: correct one"
        )
