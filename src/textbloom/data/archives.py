"""Reading and writing tar.gz and zip archives of photos and captions; nothing is ever unpacked to the disk.

Archives come from the internet, so what no honest one holds is refused by name: paths that lead out of the archive,
links, devices, two members of one name, and decompression bombs.
"""

import errno
import gzip
import io
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NoReturn

from textbloom.core.errors import UserError
from textbloom.core.files import replacing

MEND = "fetch it again with `dvc repro --force download`, from another data.mirror if it stays so"

MEMBER_BYTES = 64 * 2**20  # a photo has less than 1 MiB, a caption file less than 10 KiB
TOTAL_BYTES = 16 * 2**30
# deflate reaches 1000:1 on zeros; short text files, padded by tar to blocks of 512 bytes, stay below 30:1.
RATIO = 100
RATIO_FREE_BYTES = 16 * 2**20  # a small archive may be as repetitive as it likes

_BUFFER = 2**18
_OTHER_KIND = "a link, or neither a file nor a folder"


def members(path: Path, wanted: re.Pattern[str]) -> Iterator[tuple[re.Match[str], bytes]]:
    """Yield the match and the content of every regular file whose whole name `wanted` matches, in the archive's order.

    One member at a time is in memory, and each comes only after its checksum was right: a zip's own, or in a tar.gz
    those of the blocks so far (the gzip checksum stands at the very end, up to which every tar.gz is read). Raises
    UserError, naming archive and member, for a missing, damaged, truncated or dishonest archive.
    """
    read = _read_zip if path.suffix == ".zip" else _read_tar
    seen: set[str] = set()
    try:
        for match, content in read(path, wanted):
            if match[0] in seen:
                _refuse(path, match[0], "there twice")
            seen.add(match[0])
            yield match, content
    except FileNotFoundError:
        raise UserError(f"{path.name} is missing: {MEND}") from None


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


# What is refused in archives of either kind


def _refuse(path: Path, member: str, what: str) -> NoReturn:
    raise UserError(f"{path.name}: member {member!r} is {what}, which no honest archive holds: {MEND}")


def _refuse_name(path: Path, member: str) -> None:
    """Refuse a name that is absolute or climbs, on any operating system."""
    name = PurePosixPath(member.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or re.match(r"[A-Za-z]:", member):
        _refuse(path, member, "a path that leads out of the archive")


def _refuse_long(path: Path, member: str, size: int) -> None:
    if size > MEMBER_BYTES:
        raise UserError(
            f"{path.name}: member {member!r} is {size >> 20} MiB long, as no photo or caption file is: {MEND}"
        )


def _damaged(path: Path, where: str, error: Exception) -> UserError:
    return UserError(f"{path.name} is damaged at {where} ({error}): {MEND}")


class _Allowance:
    """How many bytes may come out of an archive in all, whatever its headers say."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._limit = min(TOTAL_BYTES, max(RATIO_FREE_BYTES, RATIO * path.stat().st_size))
        self._count = 0

    def take(self, size: int) -> None:
        """Count bytes that came out; raises UserError when they are too many."""
        self._count += size
        if self._count > self._limit:
            raise UserError(
                f"{self._path.name} unpacks to more than {self._limit >> 20} MiB, as a decompression bomb does: {MEND}"
            )


# tar.gz


def _read_tar(path: Path, wanted: re.Pattern[str]) -> Iterator[tuple[re.Match[str], bytes]]:
    where = "its start"
    try:
        with gzip.open(path) as unzipped:
            stream = _Counted(unzipped, _Allowance(path))
            with tarfile.open(fileobj=stream, mode="r|", bufsize=_BUFFER, errorlevel=2) as tar:
                for member in tar:
                    where = member.name
                    _refuse_name(path, member.name)
                    if not (member.isfile() or member.isdir()):
                        _refuse(path, member.name, _OTHER_KIND)
                    match = wanted.fullmatch(member.name) if member.isfile() else None
                    if match is not None:
                        _refuse_long(path, member.name, member.size)
                        file = tar.extractfile(member)
                        assert file is not None  # it is a regular file
                        yield match, file.read()
            # The checksum of all stands at the very end.
            where = "its end"
            while stream.read(_BUFFER):
                pass
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise _damaged(path, where, error) from None


class _Counted(io.RawIOBase):
    """A reader that counts what comes out of the archive towards its allowance."""

    def __init__(self, stream: gzip.GzipFile, allowance: _Allowance) -> None:
        self._stream = stream
        self._allowance = allowance

    def read(self, size: int = -1) -> bytes:
        chunk = self._stream.read(size)
        self._allowance.take(len(chunk))
        return chunk


# zip

_END = struct.Struct("<4s6xH10x")  # end of central directory record: its signature, the number of members in all
_COUNTED_ELSEWHERE = 0xFFFF  # in the larger record of zip64

# What zipfile raises on damaged bytes, depending on where the damage lies.
_ZIP_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
)


def _read_zip(path: Path, wanted: re.Pattern[str]) -> Iterator[tuple[re.Match[str], bytes]]:
    where = "its directory"
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_incomplete(path, archive)
            allowance = _Allowance(path)
            for member in archive.infolist():
                where = member.filename
                _refuse_name(path, member.filename)
                # The upper half of these attributes holds Unix's mode, or zeros.
                if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    _refuse(path, member.filename, _OTHER_KIND)
                # The other methods unpack without a limit on what comes out, and nobody packs photos in them.
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    _refuse(path, member.filename, f"packed by method {member.compress_type}")
                match = None if member.is_dir() else wanted.fullmatch(member.filename)
                if match is not None:  # what nobody wants is not even unpacked
                    _refuse_long(path, member.filename, member.file_size)
                    allowance.take(member.file_size)
                    yield match, archive.read(member)
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a seek to a damaged place
            raise
        raise _damaged(path, where, error) from None
    except _ZIP_DAMAGE as error:
        raise _damaged(path, where, error) from None


def _refuse_incomplete(path: Path, archive: zipfile.ZipFile) -> None:
    """Hold the directory against the record of its end: a damaged length in one entry may swallow those after it."""
    size = _END.size + len(archive.comment)
    with open(path, "rb") as file:
        file.seek(-size, os.SEEK_END)
        signature, count = _END.unpack(file.read(_END.size))
    if signature != b"PK\x05\x06":
        raise zipfile.BadZipFile("bytes after its end")
    if count not in (len(archive.infolist()), _COUNTED_ELSEWHERE):
        raise zipfile.BadZipFile(f"{len(archive.infolist())} of {count} members in it")
