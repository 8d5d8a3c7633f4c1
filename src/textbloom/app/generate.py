"""`textbloom generate`: sentences to picture files, each of which says how it was made."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from textbloom.app.models import names, open_model
from textbloom.core.errors import UserError
from textbloom.core.files import replacing
from textbloom.core.progress import progress
from textbloom.data.captions import lines, normalise
from textbloom.viz import png
from textbloom.viz.samples import caption_grid

AT_MOST = 1000  # pictures on one sheet: its memory, and nobody looks at more
FILES_AT_MOST = 100_000  # pictures in a folder, whose noise is drawn at once


def sentences(given: Sequence[str], file: str | None) -> list[str]:
    """The sentences of the command line, and one of each line that is not empty of a text file; "-": standard input.

    They take the form of the captions that a generator learned from. Raises UserError for none at all, and for a file
    that cannot be read.
    """
    of_file: list[str] = []
    if file is not None:
        name = "standard input" if file == "-" else file
        try:
            data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        except OSError as error:
            raise UserError(f"--file: {name}: {error.strerror}: correct the path") from None
        of_file = [line for line in map(normalise, lines(data, name)) if line]
        if not of_file:
            raise UserError(f"--file: {name} holds no sentence; write one a line")
    found = [*map(normalise, given), *of_file]
    if not found:
        raise UserError("say what to draw, such as: textbloom generate 'a pink flower' --out flower.png")
    if any("\udc80" <= letter <= "\udcff" for letter in "".join(found)):  # how Python spells bytes that are no text
        raise UserError("text: a sentence is not UTF-8; set the terminal to UTF-8")
    return found


def generate(texts: Sequence[str], out: Path, count: int, seed: int, model: str | None) -> None:
    """Write `count` pictures of each text: on one sheet where `out` ends in .png, else singly into the folder `out`.

    The file 0002-3.png is the second text's third picture. The sheet and single files show the same pictures.
    """
    sheet = out.suffix.lower() == ".png"
    if not sheet and out.suffix:
        raise UserError(f"--out: expected a name that ends in .png, or a folder for single pictures, got {out}")
    if sheet and len(texts) * count > AT_MOST:
        raise UserError(
            f"--count: {len(texts)} × {count} pictures are more than the {AT_MOST} of one sheet; lower it, or name a "
            "folder as --out, which gets a file for each"
        )
    if len(texts) * count > FILES_AT_MOST:
        raise UserError(
            f"--count: {len(texts)} × {count} pictures are more than the {FILES_AT_MOST:,} of one call; lower it, and "
            "call again with another --seed"
        )
    if sheet and out.is_dir():
        raise UserError(f"--out: {out} is a folder: name a file, or a folder without .png in its name")
    _can_write(out.parent if sheet else out)
    name = model or names()[0]
    opened = open_model(name)
    about = {"count": count, "model": name, "seed": seed}
    if sheet:
        pictures = opened.pictures(texts, seed, count)
        captions = [text for text in texts for _ in range(count)]
        caption_grid(pictures, captions, columns=count).save(out, png.chunks("\n".join(texts), about))
        return
    total = len(texts) * count
    for index, text, picture in progress(opened.one_by_one(texts, seed, count), "generate", "pictures", total):
        made = out / f"{index // count + 1:04}-{index % count + 1}.png"
        with replacing(made) as temporary:
            temporary.write_bytes(png.encoded(picture, text, {**about, "number": index}))


def _can_write(folder: Path) -> None:
    """Before any work: a UserError where nothing can be written to `folder`, which is made where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"--out: {folder}: {error.strerror}: name a folder that can be written to") from None
