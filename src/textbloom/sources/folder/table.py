"""A table of captions as people and spreadsheet programs write it: its rows, and where each of them stands."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from textbloom.core.errors import UserError
from textbloom.data.captions import lines
from textbloom.sources.folder.pictures import contents, is_picture

COLUMNS = ("file", "caption", "class")  # the last may be left out
SEPARATORS = ",;\t"  # spreadsheets write semicolons where the comma parts decimals


def rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Where each row stands, for errors, and its fields by the names in the header, whose separator is that of all.

    Raises UserError, naming file and lines, for a header of other names and a row of another length than the header,
    and for quotation marks that part the table otherwise than meant.
    """
    text = lines(contents(path), str(path))
    if text[0].strip('"').lower().startswith("sep="):  # what Excel tells itself
        text[0] = ""
    at = next((number for number, line in enumerate(text) if line.strip()), 0)
    separator, names = _header(text[at], f"{path}: line {at + 1}")
    text[: at + 1] = [""] * (at + 1)  # so that lines keep their numbers
    # People put a blank behind a comma, and the quotation mark after it; of blanks csv knows the plain one alone.
    blank = re.compile(rf'[^\S{separator}](?=[^\S{separator}]*")')
    plain = (f"{blank.sub(' ', line)}\n" for line in text)
    table = csv.reader(plain, delimiter=separator, strict=True, skipinitialspace=True)
    end = 0
    try:
        for fields in table:
            where, end = _where(path, end + 1, table.line_num), table.line_num
            if not any(field.strip() for field in fields):
                continue  # a blank row
            _check_quotes(where, fields, separator)
            while len(fields) > len(names) and not fields[-1].strip():  # a separator too many at the end
                fields.pop()
            if len(fields) != len(names):
                mend = f'put a caption that holds a {separator!r} into straight "quotes"'
                if len(fields) < len(names):
                    mend = f"part them by {separator!r}, as the header is, or remove the line"
                raise UserError(f"{where}: {len(fields)} fields where the header has {len(names)}: {mend}")
            yield where, dict(zip(names, fields, strict=True))
    except csv.Error as error:
        where = _where(path, end + 1, table.line_num)
        mend = "look for an odd quotation mark, for a blank behind one, or for a field too long"
        raise UserError(f"{where}: {error}: {mend}") from None


def _header(line: str, where: str) -> tuple[str, list[str]]:
    for separator in SEPARATORS:
        names = [
            name.strip().lower() for name in next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
        ]
        if sorted(names) in (sorted(COLUMNS[:2]), sorted(COLUMNS)):
            return separator, names
    raise UserError(
        f"{where}: expected file,caption or file,caption,class, got {line[:60]!r}: name the columns so, parted by "
        "commas, semicolons or tabs"
    )


def _where(path: Path, start: int, end: int) -> str:
    return f"{path}: line {start}" if start == end else f"{path}: lines {start} to {end}"


def _check_quotes(where: str, fields: Sequence[str], separator: str) -> None:
    """Raise UserError where a field has swallowed whole rows, for its quotation mark was closed only in a later one."""
    for line in "\n".join(field for field in fields if "\n" in field).split("\n"):
        cells = [cell.strip(' "') for cell in line.split(separator)]
        named = [cell for cell in cells if is_picture(cell)]
        if named and len(cells) > 1:
            raise UserError(
                f"{where} are one row, in which a field goes on up to {named[0]!r}: close the quotation mark before"
            )
