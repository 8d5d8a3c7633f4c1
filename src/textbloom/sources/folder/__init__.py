"""A person's own folder of captioned pictures, packed: from here on the pipeline reads the pack, which DVC keeps."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from textbloom.core.errors import UserError
from textbloom.core.files import refuse_pointer, replacing
from textbloom.core.progress import progress
from textbloom.data.archives import write_archive
from textbloom.data.base import Options, UnfitError
from textbloom.data.decoding import opened
from textbloom.data.folder import CAPTIONS, PICTURES, CaptionRow
from textbloom.sources.folder import captions, pictures
from textbloom.sources.folder.captions import Captioned


def obtain(folder: Path, options: Options) -> dict[str, str]:
    """Pack the pictures and captions of `options.path` into `folder`, as `textbloom.data.folder` reads them.

    Pictures are numbered from 1 in the order of their paths. The bytes depend on the pictures, their names and captions
    alone. One picture at a time is in memory. Raises UserError, naming file and mend, for whatever does not fit.
    """
    source = options.path
    names = list(_files(source))
    found = pictures.find(source, names)
    captioned = captions.read(source, found, names)
    _write_table(folder / CAPTIONS, found, captioned)
    write_archive(folder / PICTURES, _members(source, found))
    return dict.fromkeys((CAPTIONS, PICTURES), "packed")


def _files(source: Path) -> Iterator[str]:
    """The path below `source`, with forward slashes, of every file but hidden ones."""
    for above, folders, names in os.walk(source, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(above, name) for name in folders):
            if path.is_symlink():
                raise UserError(f"{path} is a link to a folder: put the pictures themselves into {source}")
        yield from (Path(above, name).relative_to(source).as_posix() for name in names if not name.startswith("."))


def _refuse(error: OSError) -> NoReturn:
    raise UserError(f"data.path: {error.filename}: {error.strerror}: correct the path, or the rights to read it")


def _write_table(path: Path, files: Sequence[str], captioned: Mapping[str, Captioned]) -> None:
    names = sorted({captioned[file].class_name for file in files} - {""})
    class_ids = {"": 0} | {name: number for number, name in enumerate(names, start=1)}
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as table:
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(CaptionRow._fields)
        for image_id, file in enumerate(files, start=1):
            picture = captioned[file]
            for caption in picture.captions:
                rows.writerow(CaptionRow(image_id, class_ids[picture.class_name], picture.class_name, file, caption))


def _members(source: Path, files: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Name in the pack and bytes of each picture, whose beginning says that it is one; the images stage decodes it."""
    for image_id, file in enumerate(progress(files, "pack", "picture"), start=1):
        path = source / file
        data = pictures.contents(path)
        refuse_pointer(path, data)
        try:
            opened(data).close()
        except UnfitError as error:
            raise UserError(f"{path} {error}") from None
        except Exception as error:  # Pillow raises nearly anything on bytes that are no picture
            raise UserError(f"{path} cannot be read as a picture ({error}): save it anew, as JPEG") from None
        yield f"pictures/{image_id:06d}{path.suffix.lower()}", data
