"""The captions of a person's own pictures, in either of two forms: one captions.csv, or a .txt beside each picture."""

import csv
import io
from collections.abc import Iterator, Sequence, Set
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


def read(folder: Path, pictures: Set[str], texts: Set[str]) -> dict[str, Captioned]:
    """The captions of every picture, by its path in `folder`.

    pictures, texts: paths of the pictures and the .txt files, relative to `folder`, with forward slashes.

    Raises UserError, naming file and line, for a picture without a caption and a caption without a picture, and where
    both forms caption a picture.
    """
    if not (folder / TABLE).is_file():
        return _from_texts(folder, pictures, texts)
    beside = sorted(set(texts) & {_text_of(picture) for picture in pictures})
    if beside:
        raise UserError(f"{folder}: both {TABLE} and {beside[0]} caption a picture: keep one of the two forms")
    return _from_table(folder / TABLE, pictures)


def content(path: Path) -> bytes:
    """The bytes of a file of the folder. Raises UserError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): correct it, or take it away") from None


def _text_of(picture: str) -> str:
    return str(PurePosixPath(picture).with_suffix(".txt"))


def _class_of(picture: str) -> str:
    """The folder that a picture lies in, which is its class unless a table says otherwise."""
    above = str(PurePosixPath(picture).parent)
    return "" if above == "." else normalize("NFC", above)


def _from_texts(folder: Path, pictures: Set[str], texts: Set[str]) -> dict[str, Captioned]:
    of_text: dict[str, str] = {}
    for picture in sorted(pictures):
        text = _text_of(picture)
        if text not in texts:
            raise UserError(
                f"{folder / picture} has no caption: write {text} beside it, one caption a line, "
                f"or give the folder a {TABLE}"
            )
        if text in of_text:
            raise UserError(f"{folder / text}: is it of {of_text[text]} or of {picture}? Rename one of the pictures")
        of_text[text] = picture
    alone = sorted(set(texts) - of_text.keys())
    if alone:
        raise UserError(f"{folder / alone[0]} has no picture of its name: add the picture, or take the text away")
    return {
        picture: Captioned(
            parse(content(folder / text), str(folder / text)),
            _class_of(picture),
        )
        for text, picture in of_text.items()
    }


def _from_table(path: Path, pictures: Set[str]) -> dict[str, Captioned]:
    # A picture's name may be composed (é) in one place and decomposed (e and accent) in another.
    known = {normalize("NFC", picture): picture for picture in pictures}
    found: dict[str, Captioned] = {}
    for number, row in _records(path):
        where = f"{path}: line {number}"
        picture = known.get(_inside(row["file"], where))
        if picture is None:
            raise UserError(f"{where}: {_missing(row['file'], pictures)}")
        caption = normalise(row["caption"])
        if not caption:
            raise UserError(f"{where}: {row['file']} has an empty caption: write one, or remove the line")
        named = normalise(row["class"]) if "class" in row else _class_of(picture)
        before = found.get(picture, Captioned((), named))
        if before.class_name != named:
            raise UserError(
                f"{where}: {row['file']} is of class {named!r} here and of {before.class_name!r} above: keep one"
            )
        found[picture] = Captioned((*before.captions, caption), named)
    without = sorted(pictures - found.keys())
    if without:
        raise UserError(f"{path}: no line captions {without[0]}: add one, or take the picture away")
    return found


def _records(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and named fields of each row; the header decides between commas and semicolons."""
    text = "\n".join(lines(content(path), str(path)))
    header = text.partition("\n")[0]
    # Spreadsheets write semicolons where the comma parts decimals.
    table = csv.reader(io.StringIO(text), delimiter=";" if ";" in header and "," not in header else ",", strict=True)
    try:
        names = _columns(path, next(table, []))
        for fields in table:
            if not any(field.strip() for field in fields):
                continue
            if len(fields) != len(names):
                raise UserError(
                    f"{path}: line {table.line_num}: {len(fields)} fields where the header has {len(names)}: "
                    'put a caption that holds a comma into "quotes"'
                )
            yield table.line_num, dict(zip(names, fields, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}: line {table.line_num}: {error}: look for an odd quotation mark") from None


def _columns(path: Path, header: Sequence[str]) -> list[str]:
    names = [name.strip().lower() for name in header]
    missing = [name for name in COLUMNS[:2] if name not in names]
    odd = [name for name in names if name not in COLUMNS or names.count(name) > 1]
    if missing or odd:
        problem = f"has no column {missing[0]!r}" if missing else f"has a column {odd[0]!r} too many"
        raise UserError(f"{path}: line 1: the header {problem}: it must be file,caption or file,caption,class")
    return names


def _inside(name: str, where: str) -> str:
    """The path of a table's row as the folder's listing has it; UserError for one that leads out of the folder."""
    path = PurePosixPath(normalize("NFC", name.strip().replace("\\", "/")))
    if path.is_absolute() or ".." in path.parts or (path.parts[:1] and path.parts[0].endswith(":")):
        raise UserError(f"{where}: {name!r} leads out of the folder: name the picture by its path inside it")
    return str(path)


def _missing(name: str, pictures: Set[str]) -> str:
    alike = [picture for picture in sorted(pictures) if picture.lower() == name.strip().replace("\\", "/").lower()]
    if alike:
        return f"{name!r} is written {alike[0]!r} in the folder: write it the same way"
    return f"the folder has no picture {name!r}: add it, or remove the line"
