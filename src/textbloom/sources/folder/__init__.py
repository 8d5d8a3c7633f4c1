"""A person's own folder of captioned pictures, packed: from here on the pipeline reads the pack, which DVC keeps."""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from unicodedata import category, normalize

from PIL import Image

from textbloom.core.errors import UserError
from textbloom.core.files import replacing
from textbloom.core.progress import progress
from textbloom.data.archives import MEMBER_BYTES, TOTAL_BYTES, write_archive
from textbloom.data.base import Options
from textbloom.data.folder import CAPTIONS, PICTURES, Row
from textbloom.sources.folder import captions
from textbloom.sources.folder.captions import Captioned

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")


def obtain(folder: Path, options: Options) -> dict[str, str]:
    """Pack the pictures and captions of `options.path` into `folder`, as `textbloom.data.folder` reads them.

    Pictures are numbered from 1 in the order of their paths. The bytes depend on the pictures, their names and captions
    alone. One picture at a time is in memory. Raises UserError, naming file and mend, for whatever does not fit.
    """
    source = options.path
    if not source.is_dir():
        raise UserError(f"data.path: {source} is no folder: give the folder that holds your pictures")
    pictures, texts = _listed(source)
    if not pictures:
        raise UserError(f"data.path: {source} holds no picture ({' '.join(SUFFIXES)}): give the folder that does")
    captioned = captions.read(source, pictures, texts)
    files = sorted(pictures, key=lambda name: normalize("NFC", name))
    _write_table(folder / CAPTIONS, files, captioned)
    write_archive(folder / PICTURES, _members(source, files))
    return dict.fromkeys((CAPTIONS, PICTURES), "packed")


def _listed(source: Path) -> tuple[set[str], set[str]]:
    """Paths of all pictures and of all .txt files in `source` and below, relative to it, with forward slashes."""
    pictures: set[str] = set()
    texts: set[str] = set()
    for path in _files(source):
        suffix = path.suffix.lower()
        if suffix in SUFFIXES:
            pictures.add(path.relative_to(source).as_posix())
        elif suffix == ".txt":
            texts.add(path.relative_to(source).as_posix())
    for name in sorted(pictures):
        if any(category(char) in ("Cc", "Cs") for char in name):  # bytes that are not UTF-8 arrive as surrogates
            raise UserError(f"{source}: the name {name!r} holds what is no text: rename the picture")
    return pictures, texts


def _files(source: Path) -> Iterator[Path]:
    """Every file but hidden ones. Raises UserError for a link to a folder, and for one out of the folder."""
    home = source.resolve()
    for above, folders, names in os.walk(source, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(above, name) for name in (*folders, *names) if not name.startswith(".")):
            if path.is_symlink() and (path.is_dir() or not path.resolve().is_relative_to(home)):
                raise UserError(f"{path} is a link: put the pictures themselves into {source}")
            if path.name in names:
                yield path


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename} cannot be read ({error.strerror}): give yourself the right to read it")


def _write_table(path: Path, files: Sequence[str], captioned: Mapping[str, Captioned]) -> None:
    names = sorted({captioned[file].class_name for file in files} - {""})
    class_ids = {"": 0} | {name: number for number, name in enumerate(names, start=1)}
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as table:
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(Row._fields)
        for image_id, file in enumerate(files, start=1):
            picture = captioned[file]
            for caption in picture.captions:
                rows.writerow(Row(image_id, class_ids[picture.class_name], picture.class_name, file, caption))


def _members(source: Path, files: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    total = 0
    for image_id, file in enumerate(progress(files, "pack", "picture"), start=1):
        data = _content(source / file)
        total += len(data)
        if total > TOTAL_BYTES:
            raise UserError(f"{source}: the pictures have more than {TOTAL_BYTES >> 30} GiB: scale them down first")
        yield f"pictures/{image_id:06d}{Path(file).suffix.lower()}", data


def _content(path: Path) -> bytes:
    """The bytes of a picture whose beginning says that it is one; the images stage decodes it."""
    data = captions.content(path)
    if len(data) > MEMBER_BYTES:
        raise UserError(f"{path} has more than {MEMBER_BYTES >> 20} MiB: scale it down")
    try:
        Image.open(io.BytesIO(data), formats=_FORMATS).close()
    except Exception as error:  # Pillow raises nearly anything on bytes that are no picture
        raise UserError(f"{path} is no picture of the kind its name says ({error}): save it anew") from None
    return data
