"""Captions: reading caption files, choosing images and captions, and captions.csv, which every later stage follows."""

import codecs
import csv
import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from textbloom.core import tables
from textbloom.core.errors import UserError
from textbloom.core.files import refuse_pointer, replacing
from textbloom.core.tables import SPLITS
from textbloom.data import archives
from textbloom.data.base import Photo, Record

# str.splitlines would also split at separators that occur inside a line, such as U+2028.
_LINE_END = re.compile(r"\r\n?|\n")
# Controls, and characters that only format: soft hyphens, marks of direction, spaces of no width. Not the joiners of
# Persian and emoji (U+200C, U+200D) nor the letters of flags (U+E0020 to U+E007F), which belong to what is written.
_INVISIBLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
_JOINERS = "\u200c\u200d"
LEAST = 100  # pictures that evaluation compares, and different captions among which each is looked for
_LONGEST = csv.field_size_limit()  # characters; Python's reader refuses a longer field


def read_files(archive: Path, wanted: re.Pattern[str]) -> dict[str, tuple[str, ...]]:
    """The captions of each file whose name `wanted` matches, by the pattern's only group; see `parse`."""
    found = archives.members(archive, wanted)
    return {match[1]: parse(data, f"{archive.name}: {match[0]}") for match, data in found}


def parse(data: bytes, name: str) -> tuple[str, ...]:
    """The captions of one file, in order; blank lines are skipped. Raises UserError, naming file and line."""
    captions = []
    for number, line in enumerate(lines(data, name), start=1):
        caption = normalise(line)
        if len(caption) > _LONGEST:
            raise UserError(
                f"{name}: line {number} has {len(caption):,} characters: part it into lines, a caption each"
            )
        if caption:
            captions.append(caption)
    if not captions:
        raise UserError(f"{name}: holds no caption, only blank lines: give it at least one line of text")
    return tuple(captions)


def lines(data: bytes, name: str) -> list[str]:
    """The lines of a text in UTF-8, or in UTF-16, as Excel and PowerShell write it.

    Raises UserError naming the line that is neither.
    """
    refuse_pointer(name, data)
    encoding = _encoding(data)
    try:
        return _LINE_END.split(data.decode(encoding).removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        line = len(_LINE_END.findall(data[: error.start].decode(encoding, "replace"))) + 1
        byte = data[error.start]
        raise UserError(f"{name}: line {line}: byte 0x{byte:02x} is not {encoding}: save it as UTF-8") from None


def _encoding(data: bytes) -> str:
    """UTF-16 begins with a byte order mark, or shows by the zero bytes, one a letter, that it has in most languages."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    first, second = data[::2].count(0), data[1::2].count(0)
    if first + second <= len(data) / 4:
        return "UTF-8"
    return "UTF-16-BE" if first > second else "UTF-16-LE"


def normalise(line: str) -> str:
    """One caption as one plain line: composed (NFC), single spaces, no control or invisible formatting characters.

    U+FFFD, another program's mark for bytes that it could not read, stands in some of Reed's files for a space.
    Letters, case and punctuation stay as written: the sentence encoder's own tokenizer decides about them.
    """
    composed = " ".join(unicodedata.normalize("NFC", line).replace("\ufffd", " ").split())
    return " ".join(_INVISIBLE.sub("", composed).split()).strip(_JOINERS + " ")


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


def check_counts(records: Sequence[Record], split: str, train_splits: Collection[str], samples: int, mend: str) -> None:
    """Raise UserError where evaluation, after hours of training, would have too few pictures or captions.

    It compares `samples` pictures of `split` and measures with as many of `train_splits`. Where nothing is held out, it
    compares a half of the pictures and measures with the other. mend: what to do for more pictures of this data set.
    """
    held_out = {record.split for record in records} - set(train_splits)
    if held_out and split not in held_out:
        raise UserError(
            f"evaluate.split: the data have no picture of split {split}, but of {' and '.join(sorted(held_out))}; "
            "change evaluate.split or data.split"
        )
    compared = [record for record in records if record.split == split] if held_out else list(records)
    trained = [record for record in records if record.split in train_splits]
    counts = {f"pictures of split {split}": len(compared), "pictures that training learns from": len(trained)}
    if not held_out:
        counts = {"pictures of the half that evaluation compares with the other": len(records) // 2}
    for name, count in counts.items():
        if count < samples:
            lower = f"set it to {count} or fewer, or " if count >= LEAST else ""
            raise UserError(f"evaluate.samples: {samples} is more than the {count} {name}; {lower}{mend}")
    if (different := len({record.captions[0] for record in compared})) < LEAST:
        raise UserError(
            f"captions: the {len(compared)} pictures that evaluation may compare begin with {different} different "
            f"captions, fewer than the {LEAST} among which it looks for each; {mend}"
        )


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
