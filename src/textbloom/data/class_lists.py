"""Reed's lists of classes: a file for each split, one class a line."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from textbloom.core.errors import UserError
from textbloom.data import caption_files
from textbloom.data.base import Entry


@dataclass(frozen=True)
class ClassList:
    """One list: the split its classes belong to, its archive and member as errors name it, its bytes."""

    split: str
    name: str
    data: bytes

    @property
    def short_name(self) -> str:
        return self.name.rsplit("/", 1)[-1]


def read(lists: Iterable[ClassList], wanted: re.Pattern[str], example: str) -> dict[int, str]:
    """The split of each class id, which is the first group of `wanted`, a pattern for a whole line.

    Blank lines are skipped. Raises UserError, naming file and line, for a line that is no class and for a class listed
    twice.
    """
    splits: dict[int, str] = {}
    listed: dict[int, str] = {}
    for each in lists:
        for number, line in enumerate(caption_files.lines(each.data, each.name), start=1):
            if not line.strip():
                continue
            match = wanted.fullmatch(line.strip())
            if match is None:
                raise UserError(
                    f"{each.name}: line {number}: expected a class such as {example}, got {line.strip()!r}: "
                    "correct the line"
                )
            class_id = int(match[1])
            if class_id in listed:
                raise UserError(
                    f"{each.name}: line {number}: class {class_id} is in {listed[class_id]} too: keep it in one"
                )
            splits[class_id], listed[class_id] = each.split, each.short_name
    return splits


def assign(
    entries: Sequence[Entry], class_splits: Mapping[int, str], archive: str, names: Sequence[str], instead: str
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
