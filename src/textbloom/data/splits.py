"""Which images train and which test: the publishers' division, or a seeded one of our own."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np

from textbloom.core.errors import UserError
from textbloom.data.base import Entry, Record

FOLDS = 5  # one of five goes to test


def divide(
    entries: Sequence[Entry], how: str, seed: int, published: Callable[[str, Sequence[Entry]], dict[int, str]]
) -> list[Record]:
    """Give every entry its split; the order stays.

    how: `random` tests on a fifth of each class, `random-classes` on a fifth of the classes (both drawn by `seed`, the
        rest trains), `none` trains on everything; any other name is asked of `published`, the data set's own division.
    """
    if how == "none":
        splits = _testing(entries, set())
    elif how == "random":
        splits = _testing(entries, set(_a_fifth_of_each_class(entries, seed)))
    elif how == "random-classes":
        splits = _testing(entries, _a_fifth_of_the_classes(entries, seed))
    else:
        splits = published(how, entries)
    return [Record(each.image_id, each.class_id, each.captions, splits[each.image_id]) for each in entries]


def _testing(entries: Sequence[Entry], test: set[int]) -> dict[int, str]:
    return {entry.image_id: "test" if entry.image_id in test else "train" for entry in entries}


def _a_fifth_of_each_class(entries: Sequence[Entry], seed: int) -> Iterator[int]:
    """Every fifth image along the classes, each class shuffled: of n images of a class n/5, rounded up or down."""
    rank = 0
    for class_id, members in groupby(sorted(entries, key=_by_class), lambda entry: entry.class_id):
        ids = [entry.image_id for entry in members]
        for image_id in np.random.default_rng([seed, class_id]).permutation(ids).tolist():
            rank += 1
            if rank % FOLDS == 0:
                yield image_id


def _by_class(entry: Entry) -> tuple[int, int]:
    return entry.class_id, entry.image_id


def _a_fifth_of_the_classes(entries: Sequence[Entry], seed: int) -> set[int]:
    classes = sorted({entry.class_id for entry in entries})
    if len(classes) < 2:
        raise UserError("data.split: random-classes needs at least two classes; take random, which divides the images")
    chosen = np.random.default_rng([seed]).permutation(classes)[: math.ceil(len(classes) / FOLDS)].tolist()
    return {entry.image_id for entry in entries if entry.class_id in chosen}
