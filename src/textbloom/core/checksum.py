"""Each tensor file holds its own sha256 at a fixed place in its header, so that damage to it is detected."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from textbloom.core.errors import UserError

MEND = "delete it and run `make repro`"
_SIGN = "sha256:"
BLANK = _SIGN + "0" * 64  # what the metadata begin with until `record` knows better
_BEFORE = f'{{"__metadata__":{{"textbloom":"{_SIGN}'.encode()  # after the 8 bytes of the header's length
_PLACE = 8 + len(_BEFORE)


def record(path: Path) -> None:
    """Put the checksum of a file whose metadata begin with BLANK in there."""
    recorded, found = _recorded_and_found(path)
    assert recorded == b"0" * 64, f"{path} has no room for a checksum"
    with open(path, "r+b") as file:
        file.seek(_PLACE)
        file.write(found)


def check(path: Path) -> None:
    """Raise UserError where a file's checksum is not that of the file; one from elsewhere carries none."""
    state = os.stat(path)
    _check(path, state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)


def without(metadata: str) -> str:
    """The metadata after their checksum, if they begin with one."""
    return metadata[len(BLANK) :] if metadata.startswith(_SIGN) else metadata


@lru_cache  # a stage opens a file several times
def _check(path: Path, *_: int) -> None:
    recorded, found = _recorded_and_found(path)
    if recorded and recorded != found:
        raise UserError(f"{path} is damaged (its bytes have another sha256 than when it was written): {MEND}")


def _recorded_and_found(path: Path) -> tuple[bytes, bytes]:
    """The file's checksum as recorded, empty where none is, and as it should be: of all bytes, zeros in its place."""
    with open(path, "rb") as file:
        before, recorded = file.read(_PLACE), file.read(64)
        if not before.endswith(_BEFORE):
            return b"", b""
        found = hashlib.sha256(before + b"0" * 64)
        while chunk := file.read(1 << 20):
            found.update(chunk)
    return recorded, found.hexdigest().encode()
