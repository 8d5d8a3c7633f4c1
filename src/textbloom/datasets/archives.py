"""Reading tar.gz archives as a stream: nothing is unpacked to disk, what no honest archive holds is refused."""

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from textbloom.errors import UserError

MEMBER_BYTES = 64 * 2**20  # a photo has less than 1 MiB, a caption file less than 10 KiB
TOTAL_BYTES = 16 * 2**30
# deflate reaches 1000:1 on zeros; short text files, padded by tar to blocks of 512 bytes, stay below 30:1.
RATIO = 100
RATIO_FREE_BYTES = 16 * 2**20  # a small archive may be as repetitive as it likes

MEND = "fetch it again with `dvc repro --force download`, from another data.mirror if it stays so"

_BUFFER = 2**18


def members(path: Path, wanted: re.Pattern[str]) -> Iterator[tuple[re.Match[str], bytes]]:
    """Yield the match and the content of every regular file whose whole name `wanted` matches, in the archive's order.

    The archive is read to its last byte, so that its checksum is verified too. Raises UserError, naming archive and
    member, for a damaged or truncated archive, an absolute or climbing name, a link, a device, or a bomb.
    """
    where = "its start"
    try:
        with gzip.open(path) as unzipped:
            stream = _Bounded(unzipped, path)
            with tarfile.open(fileobj=stream, mode="r|", bufsize=_BUFFER, errorlevel=2) as tar:
                for member in tar:
                    where = member.name
                    _refuse_hostile(path, member)
                    match = wanted.fullmatch(member.name) if member.isfile() else None
                    if match is not None:
                        yield match, _content(path, tar, member)
            where = "its end"
            while stream.read(_BUFFER):
                pass
    except FileNotFoundError:
        raise UserError(f"{path.name} is missing: {MEND}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise UserError(f"{path.name} is damaged at {where} ({error}): {MEND}") from None


class _Bounded(io.RawIOBase):
    """A reader that stops a bomb by the bytes that came out of the archive, whatever its headers say."""

    def __init__(self, stream: gzip.GzipFile, path: Path) -> None:
        self._stream = stream
        self._path = path
        self._limit = min(TOTAL_BYTES, max(RATIO_FREE_BYTES, RATIO * path.stat().st_size))
        self._count = 0

    def read(self, size: int = -1) -> bytes:
        chunk = self._stream.read(size)
        self._count += len(chunk)
        if self._count > self._limit:
            raise UserError(
                f"{self._path.name} unpacks to more than {self._limit >> 20} MiB, as a decompression bomb does: {MEND}"
            )
        return chunk


def _refuse_hostile(path: Path, member: tarfile.TarInfo) -> None:
    name = PurePosixPath(member.name.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or re.match(r"[A-Za-z]:", member.name):
        what = "a path that leads out of the archive"
    elif member.issym() or member.islnk():
        what = f"a link to {member.linkname!r}"
    elif not (member.isfile() or member.isdir()):
        what = "neither a file nor a folder"
    else:
        return
    raise UserError(f"{path.name}: member {member.name!r} is {what}, which no honest archive holds: {MEND}")


def _content(path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > MEMBER_BYTES:
        raise UserError(
            f"{path.name}: member {member.name!r} is {member.size >> 20} MiB long, as no photo or caption "
            f"file is: {MEND}"
        )
    file = tar.extractfile(member)
    assert file is not None  # members() asks for regular files only
    return file.read()
