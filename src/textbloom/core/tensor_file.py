"""A tensor file written row by row: one tensor of any length in the memory of a row, by any number of processes."""

import errno
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from textbloom.core.errors import FULL, UserError
from textbloom.core.files import replacing


@dataclass(frozen=True)
class Rows:
    """The rows of a tensor that lies in a file already at its full length. Small and picklable."""

    path: Path
    start: int  # bytes before the first row
    shape: tuple[int, ...]  # of the whole tensor

    def write(self, row: int, values: np.ndarray) -> None:
        """Put `values`, uint8 of a row's shape, in its place."""
        assert values.dtype == np.uint8 and values.shape == self.shape[1:] and 0 <= row < self.shape[0]
        with open(self.path, "r+b") as file:  # anew each time: microseconds, and nothing to hand to a process
            file.seek(self.start + row * values.size)
            file.write(values.tobytes())


@contextmanager
def writing_rows(path: Path, name: str, shape: tuple[int, ...]) -> Iterator[Rows]:
    """Yield the rows of a new safetensors file at `path` with one uint8 tensor, `name`; rows never written stay zero.

    The file has a temporary name and its full length from the start, and takes its own name when the block ends well.
    Its bytes are those that `tensors.save_tensors` gives the same tensor. Raises UserError where the disk is too full.
    """
    header = _header(name, shape)
    with replacing(path) as temporary:
        _claim(temporary, path, len(header) + math.prod(shape))
        with open(temporary, "r+b") as file:
            file.write(header)
        temporary.chmod(0o644)
        yield Rows(temporary, len(header), shape)


def _header(name: str, shape: tuple[int, ...]) -> bytes:
    """The safetensors format: the header's length in 8 bytes, JSON, spaces up to a multiple of 8."""
    entry = {"dtype": "U8", "shape": shape, "data_offsets": (0, math.prod(shape))}
    text = json.dumps({name: entry}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _claim(temporary: Path, path: Path, length: int) -> None:
    """Make the file at its full length, its blocks reserved where the system can, so that a full disk shows now."""
    free = shutil.disk_usage(temporary.parent).free
    too_little = UserError(
        f"{path} needs {_gib(length)} and its disk has {_gib(free)} free: free some space, or lower images.size"
    )
    if length > free:
        raise too_little
    with open(temporary, "wb") as file:
        try:
            if hasattr(os, "posix_fallocate"):  # Linux has it, macOS has not
                os.posix_fallocate(file.fileno(), 0, length)
        except OSError as error:
            if error.errno in FULL:
                raise too_little from None
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
        file.truncate(length)


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
