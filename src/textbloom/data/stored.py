"""Archives that the project writes itself: a tar.gz that stores without compressing, equal bytes for equal members."""

import gzip
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from textbloom.core.files import replacing


def write_archive(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write (name, content) pairs as they come, one at a time in memory; names are ASCII, at most 100 characters."""
    # Stored, not compressed: deflate's output depends on the library's build, and pictures do not shrink.
    with (
        replacing(path) as temporary,
        open(temporary, "wb") as file,
        gzip.GzipFile("", "wb", 0, file, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
