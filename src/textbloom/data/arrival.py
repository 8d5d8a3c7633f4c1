"""A file on its way in: counted and hashed as it is written, and refused as soon as it cannot be the one asked for."""

import hashlib
import shutil
from pathlib import Path
from typing import BinaryIO

import requests

from textbloom.core.errors import UserError
from textbloom.core.progress import progress

FIRST_BYTES = {".tgz": b"\x1f\x8b", ".gz": b"\x1f\x8b", ".zip": b"PK\x03\x04", ".mat": b"MATLAB"}
SPARE_BYTES = 64 * 2**20  # left free on the disk


class Refused(Exception):
    """What an address delivers is not the file; the message says why, in a few words."""


class Arrival:
    """An open file that `pooch`, `gdown` and `shutil` write into."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self.count = 0
        self.sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._file = file
        self._first = FIRST_BYTES.get(Path(name).suffix, b"")
        self._head = b""
        self._expected: int | None = None
        self._bar = progress(None, name, "B")
        self._bar.unit_scale = True

    def __enter__(self) -> "Arrival":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def expect_response(self, response: requests.Response, *_: object, **__: object) -> None:
        """Note the length that a server announces; a redirection or an error announces another body's."""
        if response.ok and not response.is_redirect and "Content-Length" in response.headers:
            self.expect(int(response.headers["Content-Length"]))

    def expect(self, total: int | None) -> None:
        """Note the file's length in bytes, once; raises UserError when the disk has no room for it."""
        if total is None or self._expected is not None:
            return
        self._expected = self._bar.total = total
        free = shutil.disk_usage(Path(self._file.name).parent).free
        if total + SPARE_BYTES > free + self.count:
            raise UserError(
                f"{self._bar.desc} has {total / 1e6:,.0f} MB, the disk only {free / 1e6:,.0f} MB free: free some space"
            )

    def write(self, chunk: bytes) -> int:
        self._head = (self._head + chunk)[: len(self._first)]
        if not self._first.startswith(self._head):
            kind = "a web page" if chunk.lstrip().startswith(b"<") else "something else"
            raise Refused(f"it served {kind} instead of the file")
        self.count += len(chunk)
        self.sha256.update(chunk)
        self._md5.update(chunk)
        self._bar.update(len(chunk))
        return self._file.write(chunk)

    def flush(self) -> None:
        self._file.flush()

    def finish(self, md5: str | None) -> None:
        """Refuse a file that is not as long as announced, is too short to be one, or has not the md5 asked for."""
        if self._expected is not None and self.count != self._expected:
            raise Refused(f"{self.count:,} of {self._expected:,} bytes arrived")
        if self.count <= len(self._first):
            raise Refused("the file is empty")
        if md5 is not None and self._md5.hexdigest() != md5:
            raise Refused(f"md5 {self._md5.hexdigest()} instead of the published {md5}")
        self._file.flush()
