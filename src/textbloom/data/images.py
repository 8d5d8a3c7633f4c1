"""All photos in one safetensors file, written row by row in the memory of a few photos."""

import json
import math
import os
import warnings
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from textbloom.core import checksum
from textbloom.core.errors import UserError
from textbloom.core.files import replacing, write_text
from textbloom.core.processors import cores
from textbloom.core.progress import progress
from textbloom.data.archives import MEND
from textbloom.data.base import Photo
from textbloom.data.decoding import Fit, decode

LARGER = 19, 16  # side of the larger pictures to that of the others: Zhang et al. cut 64 pixels of 76, 256 of 304
AHEAD = 8  # photos that wait for each thread, so that none is idle while the archive is read


def write(
    path: Path,
    photos: Iterable[Photo],
    image_ids: Sequence[int],
    size: int,
    fit: Fit = "stretch",
    box_share: float | None = None,
    threads: int | None = None,
    larger: bool = False,
) -> None:
    """Decode the photos of `image_ids` into `path`: `images` uint8 [N, 3, size, size], RGB, in the order of the ids.

    Where `larger` is asked for, the same photos are there too as `larger`, uint8 [N, 3, L, L], L = 19/16 × size. See
    `decoding.decode` for `fit` and `box_share`. The number of threads (None: one for each core) changes nothing in the
    file. Raises UserError for the first of `photos` that cannot be decoded and for an id without a photo, and
    OSError for a disk that is too full; what was at `path` stays then.
    """
    rows = {image_id: row for row, image_id in enumerate(image_ids)}
    wanted = ((rows.pop(photo.image_id), photo) for photo in photos if photo.image_id in rows)
    sides = {"images": size} | ({"larger": size * LARGER[0] // LARGER[1]} if larger else {})
    header, starts, end = _layout({name: (len(rows), 3, side, side) for name, side in sides.items()})
    with (
        replacing(path) as temporary,
        open(temporary, "wb") as file,
        warnings.catch_warnings(),
        progress(None, "decode", "image", total=len(rows)) as bar,
    ):
        warnings.filterwarnings("ignore", module="PIL")  # of damaged EXIF, which matters to nobody here
        if hasattr(os, "posix_fallocate"):  # a disk without room shows now, not after minutes of decoding
            os.posix_fallocate(file.fileno(), 0, end)
        file.write(header)
        with closing(_decoded(wanted, list(sides.values()), fit, box_share, threads or cores())) as decoded:
            for row, pictures in decoded:
                for start, pixels in zip(starts, pictures, strict=True):
                    file.seek(start + row * pixels.size)
                    file.write(pixels.tobytes())
                bar.update()
        if rows:
            raise UserError(f"captions.csv names image {min(rows)}, but the archive has no photo of it: {MEND}")
        file.flush()
        checksum.record(temporary)


def write_ids(path: Path, image_ids: Iterable[int]) -> None:
    """image_ids.csv, which names the rows of images.safetensors; `tensors.load_image_ids` reads it."""
    write_text(path, "\n".join(["image_id", *map(str, image_ids)]) + "\n")


def _decoded(
    wanted: Iterator[tuple[int, Photo]], sides: Sequence[int], fit: Fit, box_share: float | None, threads: int
) -> Generator[tuple[int, list[np.ndarray]], None, None]:
    """Each photo's row and pixels at all `sides`, in the photos' order: of several broken ones the first is named."""
    pending: deque[tuple[int, Future[list[np.ndarray]]]] = deque()
    pool = ThreadPoolExecutor(threads)

    def pictures(photo: Photo) -> list[np.ndarray]:
        return [decode(photo, side, fit, box_share) for side in sides]

    try:
        for row, photo in wanted:
            pending.append((row, pool.submit(pictures, photo)))
            if len(pending) == AHEAD * threads:
                row, future = pending.popleft()
                yield row, future.result()
        for row, future in pending:
            yield row, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _layout(shapes: Mapping[str, tuple[int, ...]]) -> tuple[bytes, list[int], int]:
    """The beginning of a safetensors file of bytes of these shapes, where in the file each begins, and its end.

    It is the header's length in 8 bytes, JSON, spaces up to a multiple of 8. The library itself writes only tensors
    that are wholly in memory.
    """
    offsets = list(accumulate(map(math.prod, shapes.values()), initial=0))
    entries = {
        name: {"dtype": "U8", "shape": shape, "data_offsets": span}
        for (name, shape), span in zip(shapes.items(), pairwise(offsets), strict=True)
    }
    metadata = {"textbloom": checksum.BLANK + "{}"}
    text = json.dumps({"__metadata__": metadata, **entries}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    header = len(text).to_bytes(8, "little") + text
    *starts, end = (len(header) + offset for offset in offsets)
    return header, starts, end
