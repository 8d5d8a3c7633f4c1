"""The captions of a person's own pictures, in either of two forms: one captions.csv, or a .txt beside each picture."""

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from textbloom.core.errors import UserError
from textbloom.data.captions import lines, normalise, parse

TABLE = "captions.csv"
COLUMNS = ("file", "caption", "class")  # the last may be left out


@dataclass(frozen=True)
class Captioned:
    """A picture's captions, in order, and its class (empty: none)."""

    captions: tuple[str, ...]
    class_name: str


def read(folder: Path, pictures: Sequence[str], texts: Collection[str]) -> dict[str, Captioned]:
    """The captions of every picture, by its path in `folder`.

    pictures, texts: paths of the pictures and the .txt files, relative to `folder`, with forward slashes.

    Raises UserError, naming file and line, for a picture without a caption and a caption without a picture, and where
    both forms caption a picture.
    """
    beside = {picture: str(PurePosixPath(picture).with_suffix(".txt")) for picture in pictures}
    if not (folder / TABLE).is_file():
        return _from_texts(folder, beside, texts)
    both = sorted(set(texts) & set(beside.values()))
    if both:
        raise UserError(f"{folder}: both {TABLE} and {both[0]} caption a picture: keep one of the two forms")
    return _from_table(folder / TABLE, pictures)


def _class_of(picture: str) -> str:
    """The folder that a picture lies in, which is its class unless a table says otherwise."""
    above = str(PurePosixPath(picture).parent)
    return "" if above == "." else normalize("NFC", above)


def _from_texts(folder: Path, beside: dict[str, str], texts: Collection[str]) -> dict[str, Captioned]:
    for picture, text in beside.items():
        if text not in texts:
            raise UserError(
                f"{folder / picture} has no caption: write {text} beside it, one caption a line, "
                f"or give the folder a {TABLE}"
            )
    alone = sorted(set(texts) - set(beside.values()))
    if alone:
        raise UserError(f"{folder / alone[0]} has no picture of its name: add the picture, or take the text away")
    return {
        picture: Captioned(parse((folder / text).read_bytes(), str(folder / text)), _class_of(picture))
        for picture, text in beside.items()
    }


def _from_table(path: Path, pictures: Sequence[str]) -> dict[str, Captioned]:
    # A picture's name may be composed (é) in one place and decomposed (e and accent) in another.
    known = {normalize("NFC", picture): picture for picture in pictures}
    found: dict[str, Captioned] = {}
    for where, row in _records(path):
        file = row["file"].strip().replace("\\", "/")
        picture = known.get(normalize("NFC", str(PurePosixPath(file))))
        if picture is None:
            alike = [each for each in pictures if each.lower() == file.lower()]
            mend = f"write {alike[0]!r}, as in the folder" if alike else "add it, or remove the line"
            raise UserError(f"{where}: the folder has no picture {file!r}: {mend}")
        caption = normalise(row["caption"])
        if not caption:
            raise UserError(f"{where}: {file} has an empty caption: write one, or remove the line")
        named = normalise(row["class"]) if "class" in row else _class_of(picture)
        before = found.get(picture, Captioned((), named))
        if before.class_name != named:
            raise UserError(f"{where}: {file} is of class {named!r} here and of {before.class_name!r} above: keep one")
        found[picture] = Captioned((*before.captions, caption), named)
    without = [picture for picture in pictures if picture not in found]
    if without:
        raise UserError(f"{path}: no line captions {without[0]}: add one, or take the picture away")
    return found


def _records(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Where each row stands, for errors, and its fields by name; the header decides between commas and semicolons."""
    text = lines(path.read_bytes(), str(path))
    # Spreadsheets write semicolons where the comma parts decimals.
    separator = ";" if ";" in text[0] and "," not in text[0] else ","
    table = csv.reader(io.StringIO("\n".join(text)), delimiter=separator, strict=True)
    try:
        names = [name.strip().lower() for name in next(table, [])]
        if sorted(names) not in (sorted(COLUMNS[:2]), sorted(COLUMNS)):
            raise UserError(f"{path}: line 1: expected file,caption or file,caption,class, got {text[0]!r}")
        for fields in table:
            where = f"{path}: line {table.line_num}"
            if not any(field.strip() for field in fields):
                continue  # a blank row
            if len(fields) != len(names):
                raise UserError(
                    f"{where}: {len(fields)} fields where the header has {len(names)}: "
                    'put a caption that holds a comma into "quotes"'
                )
            yield where, dict(zip(names, fields, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}: line {table.line_num}: {error}: look for an odd quotation mark") from None
