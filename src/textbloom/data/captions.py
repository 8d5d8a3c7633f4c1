"""Captions: reading caption files, choosing images and captions, and captions.csv, which every later stage follows."""

import csv
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from textbloom.core import tables
from textbloom.core.errors import UserError
from textbloom.core.files import replacing
from textbloom.core.tables import SPLITS
from textbloom.data import archives
from textbloom.data.base import Photo, Record

# str.splitlines would also split at separators that occur inside a line, such as U+2028.
_LINE_END = re.compile(r"\r\n?|\n")


def read_files(archive: Path, wanted: re.Pattern[str]) -> dict[str, tuple[str, ...]]:
    """The captions of each file whose name `wanted` matches, by the pattern's only group; see `parse`."""
    found = archives.members(archive, wanted)
    return {match[1]: parse(data, f"{archive.name}: {match[0]}") for match, data in found}


def parse(data: bytes, name: str) -> tuple[str, ...]:
    """The captions of one file, in order; blank lines are skipped. Raises UserError, naming file and line."""
    captions = tuple(caption for line in lines(data, name) if (caption := normalise(line)))
    if not captions:
        raise UserError(f"{name}: holds no caption, only blank lines: give it at least one line of text")
    return captions


def lines(data: bytes, name: str) -> list[str]:
    """The lines of a UTF-8 file, byte order mark or not. Raises UserError naming the line that is not UTF-8."""
    try:
        return _LINE_END.split(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = len(_LINE_END.findall(data[: error.start].decode("utf-8", "replace"))) + 1
        raise UserError(f"{name}: line {line}: byte 0x{data[error.start]:02x} is not UTF-8: save it as UTF-8") from None


def normalise(line: str) -> str:
    """One caption as one plain line: composed (NFC), single spaces, no control or invisible formatting characters.

    U+FFFD, another program's mark for bytes that it could not read, stands in some of Reed's files for a space.
    Letters, case and punctuation stay as written: the sentence encoder's own tokenizer decides about them.
    """
    composed = " ".join(unicodedata.normalize("NFC", line).replace("\ufffd", " ").split())
    visible = "".join(char for char in composed if unicodedata.category(char) not in ("Cc", "Cf"))
    return " ".join(visible.split())


def without_leaks(records: Sequence[Record], photos: Iterable[Photo]) -> tuple[list[Record], list[Record]]:
    """Keep no photo on both sides of a split: of identical copies only those in test, or else in val.

    Returns the records kept and those dropped.
    """
    digests = {photo.image_id: hashlib.sha256(photo.data).digest() for photo in photos}
    last: dict[bytes, int] = {}
    for record in records:
        digest = digests[record.image_id]
        last[digest] = max(SPLITS.index(record.split), last.get(digest, 0))
    kept: list[Record] = []
    dropped: list[Record] = []
    for record in records:
        (kept if SPLITS.index(record.split) == last[digests[record.image_id]] else dropped).append(record)
    return kept, dropped


def first(records: Sequence[Record], limit: int | None) -> list[Record]:
    """The first `limit` images, sorted by id, each split keeping its share and its own first images (None: all).

    Photos lie class by class, so the bare first N of a class-disjoint split would all be training images.
    """
    by_id = sorted(records, key=lambda record: record.image_id)
    ranked = []
    for split in SPLITS:
        members = [record for record in by_id if record.split == split]
        ranked += [(rank / len(members), record) for rank, record in enumerate(members)]
    ranked.sort(key=lambda pair: pair[0])  # a larger limit only adds images
    return sorted((record for _, record in ranked[:limit]), key=lambda record: record.image_id)


def write(path: Path, records: Sequence[Record], per_image: int | None) -> None:
    """Write the first `per_image` captions of each image (fewer where it has fewer; None: all): sorted, UTF-8, LF."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(tables.CAPTIONS)
        for record in sorted(records, key=lambda record: record.image_id):
            for index, caption in enumerate(record.captions[:per_image]):
                table.writerow((record.image_id, record.class_id, record.split, index, caption))


def image_ids(path: Path) -> list[int]:
    """The ids of the images of captions.csv, each once, ascending. Raises UserError as `tables.read` does."""
    return sorted(set(tables.read(path, tables.CAPTIONS)["image_id"]))


def summary(records: Sequence[Record]) -> str:
    """One line of counts: images and classes in all and in each split."""
    parts = []
    for split in SPLITS:
        classes = [record.class_id for record in records if record.split == split]
        of_classes = f" ({len(set(classes))} classes)" if any(classes) else ""  # class 0 is no class
        parts.append(f"{split} {len(classes):,}{of_classes}")
    return f"{len(records):,} images: {', '.join(parts)}"
