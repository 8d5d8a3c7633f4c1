"""Reading and writing tar.gz and zip archives of photos and captions.

Nothing is ever unpacked to the disk: a member is chosen by its name, read into memory, and dropped again. Still, an
archive with paths that lead out of it, links, or two members of one name is no published one, and is refused.
"""

import gzip
import io
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from textbloom.core.errors import UserError
from textbloom.core.files import replacing

MEND = "fetch it again with `dvc repro --force download`, from another data.mirror if it stays so"
MEMBER_BYTES = 64 * 2**20  # a photo has less than 1 MiB, a caption file less than 10 KiB


def members(path: Path, wanted: re.Pattern[str]) -> Iterator[tuple[re.Match[str], bytes]]:
    """Yield the match and the content of every regular file whose whole name `wanted` matches, in the archive's order.

    One member at a time is in memory, and never more than MEMBER_BYTES of it. A zip's member comes after its checksum
    was right; a tar.gz has one checksum, at the very end, up to which it is always read. Raises UserError, naming
    archive and member, for an archive that is missing, damaged, or holds what no honest one does.
    """
    where = "its start"
    seen: set[str] = set()
    try:
        for where, size, opened in _members(path):
            parts = PurePosixPath(where.replace("\\", "/")).parts
            if ".." in parts or where.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", where):
                raise ValueError("its path leads out of the archive")
            if size is None:
                raise ValueError("it is neither a file nor a folder")
            if where in seen:
                raise ValueError("it is there twice")
            seen.add(where)
            if match := wanted.fullmatch(where):
                if size > MEMBER_BYTES:
                    raise ValueError(f"it has {size >> 20} MiB, as no photo or caption file has")
                with opened() as file:
                    content = file.read(size + 1)  # not all: zipfile would then unpack whatever a false size hides
                yield match, content
    except Exception as error:  # the readers raise nearly anything on damaged bytes
        raise UserError(f"{path.name} cannot be read at {where} ({error}): {MEND}") from None


def _members(path: Path) -> Iterator[tuple[str, int | None, Callable[[], IO[bytes]]]]:
    """Name and size of each member but folders, and what opens it, in a tar.gz before the next is taken.

    The size is None of a link or a device.
    """
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                link = stat.S_ISLNK(entry.external_attr >> 16)  # the upper half is Unix's mode
                if not entry.is_dir():
                    yield entry.filename, None if link else entry.file_size, partial(archive.open, entry)
        return
    with gzip.open(path) as unzipped:
        with tarfile.open(fileobj=unzipped, mode="r|", errorlevel=2) as tar:
            for member in tar:
                if not member.isdir():
                    size = member.size if member.isfile() else None
                    yield member.name, size, partial(tar.extractfile, member)  # type: ignore[misc]  # a file has a reader
        while unzipped.read(2**18):  # to the checksum at the end
            pass


def write_archive(path: Path, contents: Iterable[tuple[str, bytes]]) -> None:
    """Write (name, content) pairs into a tar.gz as they come; equal pairs give equal bytes.

    One content at a time is in memory; names are ASCII, at most 100 characters long.
    """
    # Stored, not compressed: deflate's output depends on the library's build, and pictures do not shrink.
    with (
        replacing(path) as temporary,
        open(temporary, "wb") as file,
        gzip.GzipFile("", "wb", 0, file, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, content in contents:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
