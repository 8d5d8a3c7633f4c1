"""Reading CUB-200-2011 birds with Reed's captions, as published.

Photos, labels, boxes: Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", 2011.
Captions, class-disjoint lists: Reed et al., "Learning deep representations of fine-grained visual descriptions", 2016.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from textbloom.core.errors import UserError
from textbloom.data import archives, captions, splits
from textbloom.data.base import Box, Entry, Photo
from textbloom.data.splits import ClassList

PHOTOS = "CUB_200_2011.tgz"
CAPTIONS = "cvpr2016_cub.tar.gz"
IMAGES, LABELS, BOXES = "images.txt", "image_class_labels.txt", "bounding_boxes.txt"

# The columns of each table after the image's id.
_TABLES: dict[str, dict[str, type]] = {
    IMAGES: {"path": str},
    LABELS: {"class_id": int},
    BOXES: dict.fromkeys(Box._fields, float),
}

# A class as folders and lists name it, its id before the dot.
_CLASS = re.compile(r"(\d{3})\.[^/\s]+")
_PATH = rf"{_CLASS.pattern}/[^/\s]+\.jpg"
_TABLE = re.compile(rf"(?:\./)?CUB_200_2011/(?P<name>{'|'.join(map(re.escape, _TABLES))})")
# Names that begin with a dot are a file system's own.
_PHOTO = re.compile(r"(?:\./)?CUB_200_2011/images/(?P<path>[^/]+/(?!\.)[^/]+)\.jpg")
_TEXT = re.compile(r"(?:\./)?(?:cvpr2016_cub/)?text_c10/(?P<path>[^/]+/(?!\.)[^/]+)\.txt")
_CLASS_LIST = re.compile(r"(?:\./)?(?:cvpr2016_cub/)?(?P<name>(?:train|val|trainval|test)classes\.txt)")

_LISTS = {"trainclasses.txt": "train", "valclasses.txt": "val", "testclasses.txt": "test"}
_LISTS_WITHOUT_VAL = {"trainvalclasses.txt": "train", "testclasses.txt": "test"}

# Some captions have two of U+FFFD where a space stood: another program's mark for bytes that it could not read.
_LOST = "\ufffd".encode()


class _Bird(NamedTuple):
    """What the tables say of one image."""

    image_id: int
    class_id: int
    box: Box


def photos(folder: Path) -> Iterator[Photo]:
    """Every photo with its bounding box, in the archive's order. The tables are read first, wherever they lie."""
    birds = _read_tables(folder / PHOTOS)
    for match, data in archives.members(folder / PHOTOS, _PHOTO):
        bird = birds.get(match["path"])
        if bird is None:
            raise UserError(f"{PHOTOS}: {match[0]}: {IMAGES} does not list it: add it there, or remove the photo")
        yield Photo(bird.image_id, match[0], data, bird.box)


def entries(folder: Path) -> list[Entry]:
    """Every image of images.txt, sorted by id.

    Raises UserError for an image without a caption, a caption without an image, a caption filed under another class
    than its image, bytes that are not UTF-8, and tables that do not fit together.
    """
    birds = _read_tables(folder / PHOTOS)
    texts = _read_captions(folder / CAPTIONS, birds)
    missing = [path for path in birds if path not in texts]
    if missing:
        raise UserError(
            f"{CAPTIONS}: image {birds[missing[0]].image_id} ({missing[0]}.jpg) has no caption file, nor have "
            f"{len(missing) - 1} more of {PHOTOS}: use both archives of one source"
        )
    return [Entry(bird.image_id, bird.class_id, texts[path]) for path, bird in birds.items()]


def published_split(folder: Path, how: str, entries: Sequence[Entry]) -> dict[int, str]:
    """The split of each image: `class-disjoint`, Reed's 100 train, 50 val and 50 test classes.

    In an archive with only the list of train and val classes together, all 150 train. Raises UserError for another
    name, and for a class in no list or in two.
    """
    if how != "class-disjoint":
        raise UserError(
            f"data.split: birds have no split {how!r}; there are class-disjoint, random, random-classes, none"
        )
    found = {match["name"]: (match[0], data) for match, data in archives.members(folder / CAPTIONS, _CLASS_LIST)}
    used = _LISTS if _LISTS.keys() <= found.keys() else _LISTS_WITHOUT_VAL
    missing = [name for name in used if name not in found]
    if missing:
        raise UserError(f"{CAPTIONS}: there is no {missing[0]} in it: add it, or set data.split to random-classes")
    lists = [ClassList(split, f"{CAPTIONS}: {found[name][0]}", found[name][1]) for name, split in used.items()]
    class_splits = splits.read_class_lists(lists, _CLASS, "001.Black_footed_Albatross")
    return splits.by_class(entries, class_splits, CAPTIONS, used, "random-classes")


def verify(folder: Path) -> None:
    """Read both archives to their end, and hold every box against its photo."""
    count = 0
    for photo in photos(folder):
        _refuse_outside(photo)
        count += 1
    texts = sum(1 for _ in archives.members(folder / CAPTIONS, _TEXT))
    for name, found, wanted in ((PHOTOS, count, _PHOTO), (CAPTIONS, texts, _TEXT)):
        if found == 0:
            raise UserError(
                f"{name}: no member's name matches {wanted.pattern}: it is another archive; {archives.MEND}"
            )


def _refuse_outside(photo: Photo) -> None:
    """A published box may pass an edge by a pixel or two; no honest one has its centre beyond it."""
    assert photo.box is not None
    try:
        with Image.open(io.BytesIO(photo.data)) as image:
            width, height = image.size
    except OSError as error:
        raise UserError(f"photo {photo.member} cannot be decoded ({error}): {archives.MEND}") from None
    across, down = photo.box.left + photo.box.width / 2, photo.box.top + photo.box.height / 2
    if not (0 <= across <= width and 0 <= down <= height):
        raise UserError(
            f"photo {photo.member}: the box of image {photo.image_id} in {BOXES}, {tuple(photo.box)}, "
            f"lies outside its {width} × {height} pixels: use boxes and photos of one source"
        )


def _read_captions(path: Path, birds: Mapping[str, _Bird]) -> dict[str, tuple[str, ...]]:
    texts: dict[str, tuple[str, ...]] = {}
    for match, data in archives.members(path, _TEXT):
        name, image = f"{path.name}: {match[0]}", match["path"]
        if image not in birds:
            _refuse_stray(name, image, birds)
        if image in texts:
            raise UserError(f"{name}: image {birds[image].image_id} has a caption file already: remove one of the two")
        texts[image] = captions.parse(data.replace(_LOST, b" "), name)
    return texts


def _refuse_stray(name: str, image: str, birds: Mapping[str, _Bird]) -> None:
    folder, file = image.split("/")
    elsewhere = [path.split("/")[0] for path in birds if path.endswith(f"/{file}")]
    if elsewhere:
        raise UserError(f"{name}: filed under {folder}, but {IMAGES} says {elsewhere[0]}: correct one")
    raise UserError(f"{name}: {IMAGES} has no image {image}.jpg: remove the file or use both archives of one source")


# The tables of the photos' archive


def _read_tables(path: Path) -> dict[str, _Bird]:
    """Every image, sorted by id, under its path below images/ without the suffix: `001.Black_footed_Albatross/...`.

    The archive is read only as far as its last table. Raises UserError, naming the table or the image, for what does
    not parse, an id or a path listed twice, an image that a table lacks, one in another class's folder, an empty box.
    """
    frames = [_table(path, name, data) for name, data in _tables(path).items()]
    table = pd.concat(frames, axis=1).sort_index()

    def refuse(wrong: pd.Series, what: str, mend: str) -> None:
        if wrong.any():
            raise UserError(f"{path.name}: image {wrong.idxmax()} {what}: {mend}")

    refuse(table.isna().any(axis=1), f"is not whole in each of {', '.join(_TABLES)}", "complete the tables")
    refuse(table["path"].duplicated(), f"has the path of another image in {IMAGES}", "keep one of the two lines")
    refuse(~table["path"].str.fullmatch(_PATH), f"has no path <class>/<name>.jpg in {IMAGES}", "correct the line")
    filed_under = table["path"].str[:3].astype(int)
    refuse(filed_under != table["class_id"], f"is of one class in {IMAGES} and of another in {LABELS}", "correct one")
    boxes = table[list(Box._fields)]
    empty = (boxes[["width", "height"]] <= 0).any(axis=1) | boxes.isin([np.inf, -np.inf]).any(axis=1)
    refuse(empty, f"has no box in {BOXES}", "correct the line")
    columns = table["path"], table.index.tolist(), table["class_id"].tolist(), boxes.to_numpy().tolist()
    return {
        name.removesuffix(".jpg"): _Bird(image_id, class_id, Box(*box))
        for name, image_id, class_id, box in zip(*columns, strict=True)
    }


def _tables(path: Path) -> dict[str, bytes]:
    tables: dict[str, bytes] = {}
    for match, data in archives.members(path, _TABLE):
        tables[match["name"]] = data
        if len(tables) == len(_TABLES):
            return tables
    missing = next(name for name in _TABLES if name not in tables)
    raise UserError(f"{path.name}: there is no CUB_200_2011/{missing} in it: it is another archive; {archives.MEND}")


def _table(path: Path, name: str, data: bytes) -> pd.DataFrame:
    types = {"image_id": int, **_TABLES[name]}
    try:
        table = pd.read_csv(io.BytesIO(data), sep=" ", header=None, names=list(types), dtype=types)
    except ValueError as error:  # pandas names the line where it can
        raise UserError(f"{path.name}: {name}: {' '.join(str(error).split())}: correct the line") from None
    twice = table["image_id"].duplicated()
    if twice.any():
        raise UserError(f"{path.name}: {name}: image {table['image_id'][twice].iloc[0]} is listed twice: keep one line")
    return table.set_index("image_id")
