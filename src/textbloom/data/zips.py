"""Reading a zip, member by member, each against its checksum."""

import errno
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from textbloom.core.errors import UserError
from textbloom.data import guards

_ENCRYPTED = 0x1  # of the general purpose flags
_END = struct.Struct("<4s6xH10x")  # end of central directory record: its signature, the number of members in all
_COUNTED_ELSEWHERE = 0xFFFF  # in the larger record of zip64

# What zipfile raises on damaged bytes, depending on where the damage lies.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
)


def read(path: Path, wanted: re.Pattern[str]) -> Iterator[tuple[re.Match[str], bytes]]:
    """What `archives.members` gives, of a zip; members that nobody wants are not unpacked. Raises FileNotFoundError."""
    where = "its directory"
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_incomplete(path, archive)
            allowance = guards.Allowance(path)
            for member in archive.infolist():
                where = member.filename
                _refuse_hostile(path, member)
                match = None if member.is_dir() else wanted.fullmatch(member.filename)
                if match is not None:
                    guards.refuse_long(path, member.filename, member.file_size)
                    allowance.take(member.file_size)
                    yield match, _content(archive, member)
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a seek to a damaged place
            raise
        raise _damaged(path, where, error) from None
    except _DAMAGE as error:
        raise _damaged(path, where, error) from None


def _damaged(path: Path, where: str, error: Exception) -> UserError:
    return UserError(f"{path.name} is damaged at {where} ({error}): {guards.MEND}")


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


def _refuse_hostile(path: Path, member: zipfile.ZipInfo) -> None:
    # zipfile cuts a name at its first zero byte.
    guards.refuse_name(path, member.filename)
    guards.refuse_name(path, member.orig_filename)
    # The others unpack without a limit on what comes out, and nobody packs photos in them.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        guards.refuse(path, member.filename, f"packed by method {member.compress_type}")
    kind = stat.S_IFMT(member.external_attr >> 16)  # the upper half holds Unix's mode, or zeros
    if kind == stat.S_IFLNK:
        guards.refuse(path, member.filename, "a link")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        guards.refuse(path, member.filename, "neither a file nor a folder")
    if member.flag_bits & _ENCRYPTED:
        guards.refuse(path, member.filename, "encrypted")


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with archive.open(member) as file:
        # Asked for everything at once, zipfile would unpack a bomb whole before it cuts it to the announced size.
        content = file.read(member.file_size + 1)
    if len(content) != member.file_size:
        raise zipfile.BadZipFile(f"{len(content)} of {member.file_size} bytes")
    return content
