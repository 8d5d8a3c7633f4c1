"""The captions of a person's own pictures, in either of two forms: one captions.csv, or a .txt beside each picture."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from textbloom.core.errors import UserError
from textbloom.data.captions import lines, normalise, parse
from textbloom.sources.folder import table
from textbloom.sources.folder.pictures import composed, contents, stem

TABLE = "captions.csv"


@dataclass(frozen=True)
class Captioned:
    """A picture's captions, in order, and its class (empty: none)."""

    captions: tuple[str, ...]
    class_name: str


def read(folder: Path, pictures: Sequence[str], names: Collection[str]) -> dict[str, Captioned]:
    """The captions of every picture, by its path in `folder`.

    pictures, names: paths of the pictures and of all files, relative to `folder`, with forward slashes. Names match in
    whatever form of Unicode, and captions.csv and .txt in capitals too.

    Raises UserError, naming file and line, for a picture without a caption and a caption without a picture, where two
    files caption a picture, and where one .txt captions two.
    """
    texts: dict[str, str] = {}
    of_pictures = set(map(stem, pictures))
    for name in sorted(names):
        if name.lower().endswith(".txt"):
            other = texts.setdefault(stem(name), name)
            if other != name and stem(name) in of_pictures:
                raise UserError(f"{folder}: both {other} and {name} caption a picture: keep one of the two")
    tables = sorted(name for name in names if name.lower() == TABLE)
    if not tables:
        return _from_texts(folder, pictures, texts, names)
    rivals = [*tables, *(texts[each] for each in sorted(of_pictures & set(texts)))]
    if len(rivals) > 1:
        raise UserError(f"{folder}: both {rivals[0]} and {rivals[1]} caption a picture: keep one of the two")
    return _from_table(folder / tables[0], pictures, names)


def _class_of(picture: str) -> str:
    """The folder that a picture lies in, which is its class unless a table says otherwise."""
    above = str(PurePosixPath(picture).parent)
    return "" if above == "." else composed(above)


def _from_texts(
    folder: Path, pictures: Sequence[str], texts: dict[str, str], names: Collection[str]
) -> dict[str, Captioned]:
    beside = {picture: texts.get(stem(picture)) for picture in pictures}
    found: dict[str, Captioned] = {}
    of_text: dict[str, str] = {}
    for picture, text in beside.items():
        if text is None:
            raise UserError(f"{folder / picture} has no caption: {_mend(picture, pictures, names)}")
        other = of_text.setdefault(text, picture)
        if other != picture:  # one photo in two forms, which might be learned from and measured by
            raise UserError(f"{folder}: both {other} and {picture} are captioned by {text}: keep one of the two")
        data, where = contents(folder / text), str(folder / text)
        for number, line in enumerate(lines(data, where), start=1):
            _refuse_lost(line, f"{where}: line {number}")
        found[picture] = Captioned(parse(data, where), _class_of(picture))
    alone = sorted(set(texts.values()) - set(beside.values()))
    if alone:
        unread = [name for name in sorted(names) if stem(name) == stem(alone[0]) and name != alone[0]]
        if unread:
            raise UserError(f"{folder / unread[0]} is of a kind that is not read: convert it to JPEG")
        raise UserError(f"{folder / alone[0]} has no picture of its name: add the picture, or take the text away")
    return found


def _mend(picture: str, pictures: Sequence[str], names: Collection[str]) -> str:
    """What to do for a picture without a text, by what lies in the folder instead."""
    text = str(PurePosixPath(picture).with_suffix(".txt"))
    for name in sorted(names):
        if composed(name).lower() == composed(text).lower():
            return f"rename {name} to {text}, capitals too"
        if PurePosixPath(name).stem.lower() in ("captions", TABLE) and stem(name) not in map(stem, pictures):
            return f"save {name} as {TABLE}, parted by commas"
    return f"write {text} beside it, one caption a line, or give the folder a {TABLE}"


def _from_table(path: Path, pictures: Sequence[str], names: Collection[str]) -> dict[str, Captioned]:
    known = {composed(picture): picture for picture in pictures}
    found: dict[str, Captioned] = {}
    for where, row in table.rows(path):
        file = composed(row["file"].strip().replace("\\", "/"))
        picture = known.get(str(PurePosixPath(file)))
        if picture is None:
            mend = _mend_of_row(path.parent, file, known, names)
            raise UserError(f"{where}: the folder has no picture {file[:60]!r}: {mend}")
        _refuse_lost(row["caption"], where)
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


def _refuse_lost(text: str, where: str) -> None:
    """Raise UserError for U+FFFD, which a program leaves for what it could not read."""
    if "\ufffd" in text:
        raise UserError(f"{where}: letters were lost where it says \ufffd, in another program: write them again")


def _mend_of_row(folder: Path, file: str, known: Collection[str], names: Collection[str]) -> str:
    within = os.path.relpath(folder / file, folder)  # /home/me/pictures/a.jpg and b/../a.jpg are a.jpg
    named = os.path.splitext(within)[0]
    alike = [name for name in known if name.lower() == within.lower() or os.path.splitext(name)[0] == named]
    if alike:
        return f"write {alike[0]!r}, as in the folder"
    if within in map(composed, names):
        return "convert the file to JPEG"
    if any(part.startswith(".") for part in within.split("/") if part not in (".", "..")):
        return "rename it, for what begins with a dot is passed over"
    return "add it, or remove the line"
