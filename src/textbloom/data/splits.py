"""Which images train and which test: the publishers' division, or a seeded one of our own."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from textbloom.core.errors import UserError
from textbloom.data import captions
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


class ClassList(NamedTuple):
    """A published list of the classes of one split, one a line; `name` is its archive and member for errors."""

    split: str
    name: str
    data: bytes


def read_class_lists(lists: Iterable[ClassList], wanted: re.Pattern[str], example: str) -> dict[int, str]:
    """The split of each class id, which is the first group of `wanted`, a pattern for a whole line.

    Blank lines are skipped. Raises UserError, naming file and line, for a line that is no class (saying what one looks
    like by `example`) and for a class listed twice.
    """
    splits: dict[int, str] = {}
    listed: dict[int, str] = {}
    for each in lists:
        for number, line in enumerate(captions.lines(each.data, each.name), start=1):
            if not line.strip():
                continue
            where = f"{each.name}: line {number}"
            match = wanted.fullmatch(line.strip())
            if match is None:
                raise UserError(f"{where}: expected a class such as {example}, got {line.strip()!r}: correct the line")
            class_id = int(match[1])
            if class_id in listed:
                raise UserError(f"{where}: class {class_id} is in {listed[class_id]} too: keep it in one")
            splits[class_id], listed[class_id] = each.split, each.name.rsplit("/", 1)[-1]
    return splits


def by_class(
    entries: Sequence[Entry], class_splits: Mapping[int, str], archive: str, names: Iterable[str], instead: str
) -> dict[int, str]:
    """The split of each image id by its class.

    Raises UserError for a class in none of the lists, saying where they lie (`archive`, `names`) and which other value
    of data.split does without them (`instead`).
    """
    for entry in entries:
        if entry.class_id not in class_splits:
            raise UserError(
                f"{archive}: class {entry.class_id} is in none of {', '.join(names)}: "
                f"add it to one, or set data.split to {instead}"
            )
    return {entry.image_id: class_splits[entry.class_id] for entry in entries}
