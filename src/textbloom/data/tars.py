"""Reading a tar.gz as a stream, to its last byte."""

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from textbloom.core.errors import UserError
from textbloom.data import guards

_BUFFER = 2**18


def read(path: Path, wanted: re.Pattern[str]) -> Iterator[tuple[re.Match[str], bytes]]:
    """What `archives.members` gives, of a tar.gz. Also raises FileNotFoundError."""
    where = "its start"
    try:
        with gzip.open(path) as unzipped:
            stream = _Bounded(unzipped, guards.Allowance(path))
            with tarfile.open(fileobj=stream, mode="r|", bufsize=_BUFFER, errorlevel=2) as tar:
                for member in tar:
                    where = member.name
                    _refuse_hostile(path, member)
                    match = wanted.fullmatch(member.name) if member.isfile() else None
                    if match is not None:
                        guards.refuse_long(path, member.name, member.size)
                        yield match, _content(tar, member)
            # The checksum of all stands at the very end.
            where = "its end"
            while stream.read(_BUFFER):
                pass
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise UserError(f"{path.name} is damaged at {where} ({error}): {guards.MEND}") from None


class _Bounded(io.RawIOBase):
    """A reader that counts what came out of the archive towards its allowance."""

    def __init__(self, stream: gzip.GzipFile, allowance: guards.Allowance) -> None:
        self._stream = stream
        self._allowance = allowance

    def read(self, size: int = -1) -> bytes:
        chunk = self._stream.read(size)
        self._allowance.take(len(chunk))
        return chunk


def _refuse_hostile(path: Path, member: tarfile.TarInfo) -> None:
    guards.refuse_name(path, member.name)
    if member.issym() or member.islnk():
        guards.refuse(path, member.name, f"a link to {member.linkname!r}")
    if not (member.isfile() or member.isdir()):
        guards.refuse(path, member.name, "neither a file nor a folder")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # asked for regular files only
    return file.read()
