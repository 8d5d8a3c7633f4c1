"""Which images train and which test: the publishers' division, or a seeded one of our own."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from textbloom.core.errors import UserError
from textbloom.data import archives
from textbloom.data.base import Dataset, Entry, Record

FOLDS = 5  # one of five goes to test

_CLASS_LIST = re.compile(r"(?:\./)?(?:\w+/)?(?P<list>trainval|train|val|test)classes\.txt")


def divide(dataset: Dataset, folder: Path, how: str, seed: int) -> list[Record]:
    """Every image of the data set with its split, sorted by id.

    how: `random` tests on a fifth of each class, `random-classes` on a fifth of the classes (both drawn by `seed`, the
        rest trains), `none` trains on everything; any other name must be one of the data set's published splits.
    """
    entries = dataset.entries(folder)
    if how == "none":
        splits = _testing(entries, set())
    elif how == "random":
        splits = _testing(entries, set(_a_fifth_of_each_class(entries, seed)))
    elif how == "random-classes":
        splits = _testing(entries, _a_fifth_of_the_classes(entries, seed))
    elif how in dataset.PUBLISHED_SPLITS:
        splits = dataset.PUBLISHED_SPLITS[how](folder, entries)
    else:
        names = ", ".join([*dataset.PUBLISHED_SPLITS, "random", "random-classes", "none"])
        raise UserError(f"data.split: this data set has no split {how!r}; there are {names}")
    return [Record(each.image_id, each.class_id, each.captions, splits[each.image_id]) for each in entries]


def _testing(entries: Sequence[Entry], test: set[int]) -> dict[int, str]:
    return {entry.image_id: "test" if entry.image_id in test else "train" for entry in entries}


def _a_fifth_of_each_class(entries: Sequence[Entry], seed: int) -> Iterator[int]:
    """Every fifth image along the classes, each class shuffled: of n images of a class n/5, rounded up or down."""
    rank = 0
    by_class = sorted(entries, key=lambda entry: (entry.class_id, entry.image_id))
    for class_id, members in groupby(by_class, lambda entry: entry.class_id):
        ids = [entry.image_id for entry in members]
        for image_id in np.random.default_rng([seed, class_id]).permutation(ids).tolist():
            rank += 1
            if rank % FOLDS == 0:
                yield image_id


def _a_fifth_of_the_classes(entries: Sequence[Entry], seed: int) -> set[int]:
    classes = sorted({entry.class_id for entry in entries})
    if len(classes) < 2:
        raise UserError("data.split: random-classes needs at least two classes; take random, which divides the images")
    chosen = np.random.default_rng([seed]).permutation(classes)[: math.ceil(len(classes) / FOLDS)].tolist()
    return {entry.image_id for entry in entries if entry.class_id in chosen}


def read_class_lists(archive: Path) -> dict[int, str]:
    """The split of each class after the lists in an archive of Reed's captions: a class a line, its number first.

    Where the classes of train and val are only in a common list, they all train.
    """
    numbers = {
        match["list"]: re.findall(r"^\D*(\d+)", data.decode(errors="replace"), re.MULTILINE)
        for match, data in archives.members(archive, _CLASS_LIST)
    }
    order = {"trainval": "train", "train": "train", "val": "val", "test": "test"}
    return {int(number): split for name, split in order.items() for number in numbers.get(name, [])}


def by_class(entries: Sequence[Entry], class_splits: Mapping[int, str], archive: str) -> dict[int, str]:
    """The split of each image id by its class. Raises UserError for a class without one."""
    for entry in entries:
        if entry.class_id not in class_splits:
            raise UserError(
                f"{archive}: class {entry.class_id} is in none of its lists *classes.txt: "
                "add it to one, or set data.split to random-classes"
            )
    return {entry.image_id: class_splits[entry.class_id] for entry in entries}
