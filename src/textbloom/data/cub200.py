"""Reading CUB-200-2011 birds with Reed's captions, as published.

Photos, labels, boxes: Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", 2011.
Captions, class-disjoint lists: Reed et al., "Learning deep representations of fine-grained visual descriptions", 2016.
"""

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from textbloom.core.errors import UserError
from textbloom.data import archives, captions, splits
from textbloom.data.base import Box, Entry, Photo, check_same_images

PHOTOS = "CUB_200_2011.tgz"
CAPTIONS = "cvpr2016_cub.tar.gz"
TABLES: dict[str, dict[str, type]] = {  # of the photos' archive: a line for each image, its id first
    "images.txt": {"file": str},
    "image_class_labels.txt": {"class_id": int},
    "bounding_boxes.txt": {"left": float, "top": float, "width": float, "height": float},
}

# Names that begin with a dot are a file system's own.
_PHOTO = re.compile(r"(?:\./)?CUB_200_2011/images/([^/]+/(?!\.)[^/]+)\.jpg")
_TEXT = re.compile(r"(?:\./)?(?:cvpr2016_cub/)?text_c10/([^/]+/(?!\.)[^/]+)\.txt")
_TABLE = re.compile(rf"(?:\./)?CUB_200_2011/({'|'.join(map(re.escape, TABLES))})")


def photos(folder: Path) -> Iterator[Photo]:
    """Every photo that the tables list, with its bounding box, in the archive's order."""
    birds = _birds(folder / PHOTOS)
    for match, data in archives.members(folder / PHOTOS, _PHOTO):
        if match[1] in birds:
            image_id, _, *box = birds[match[1]]
            yield Photo(image_id, match[0], data, Box(*box))


def entries(folder: Path) -> list[Entry]:
    """Every image of images.txt, sorted by id.

    Raises UserError where tables and captions are not of the same images, and for captions that are not UTF-8.
    """
    birds = _birds(folder / PHOTOS)
    texts = captions.read_files(folder / CAPTIONS, _TEXT)
    check_same_images(f"{CAPTIONS} and the tables in {PHOTOS}", texts, birds)
    return [Entry(image_id, class_id, texts[path]) for path, (image_id, class_id, *_) in birds.items()]


def _class_disjoint(folder: Path, entries: Sequence[Entry]) -> dict[int, str]:
    """Reed's 100 train, 50 val and 50 test classes."""
    return splits.by_class(entries, splits.read_class_lists(folder / CAPTIONS), CAPTIONS)


PUBLISHED_SPLITS = {"class-disjoint": _class_disjoint}


def _birds(path: Path) -> dict[str, tuple[int, int, float, float, float, float]]:
    """Id, class and box of each image, sorted by id, under its path below images/ without the suffix.

    The archive is read only as far as its last table. Raises UserError for a table that is missing or not as described,
    and for an image that one of them lacks.
    """
    tables: list[pd.DataFrame] = []
    for match, data in archives.members(path, _TABLE):
        kinds = {"image_id": int} | TABLES[match[1]]
        try:
            tables.append(pd.read_csv(io.BytesIO(data), sep=" ", names=[*kinds], dtype=kinds, index_col="image_id"))
        except ValueError as error:
            raise UserError(f"{path.name}: {match[1]}: expected lines of {', '.join(kinds)} ({error})") from None
        if len(tables) == len(TABLES):
            break
    if len(tables) < len(TABLES):
        raise UserError(f"{path.name}: it lacks one of {', '.join(TABLES)}, so it is another archive: {archives.MEND}")
    birds = pd.concat(tables, axis=1).sort_index()
    incomplete = birds.index[birds.isna().any(axis=1)]
    if len(incomplete):
        raise UserError(f"{path.name}: image {incomplete[0]} is not in all of {', '.join(TABLES)}: complete them")
    rows = birds[["file", "class_id", "left", "top", "width", "height"]].itertuples()
    return {
        file.removesuffix(".jpg"): (image_id, int(class_id), left, top, width, height)
        for image_id, file, class_id, left, top, width, height in rows
    }
