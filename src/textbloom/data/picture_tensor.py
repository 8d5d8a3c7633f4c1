"""All photos into one tensor file, decoded in parallel processes, in the memory of a few photos."""

import itertools
import math
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from textbloom.core.errors import UserError
from textbloom.core.progress import progress
from textbloom.core.tensor_file import Rows, writing_rows
from textbloom.data import pictures
from textbloom.data.archives import MEND
from textbloom.data.base import Photo

# Photos go to the workers in parcels: handed over one by one, a small one would cost as much again as its decoding.
_PARCEL = 16
_PARCEL_BYTES = 2**20  # a parcel that large is full
_AHEAD = 3  # parcels waiting for each worker: some MiB in all
# Starting workers takes about a second of every core: they are started once that much work has not been the end of it.
_ALONE = 1.0


def write(
    path: Path,
    photos: Iterable[Photo],
    image_ids: Sequence[int],
    size: int,
    fit: pictures.Fit = "stretch",
    box_share: float | None = None,
    workers: int | None = None,
) -> None:
    """Decode the photos of `image_ids` into `path`: `images` uint8 [N, 3, size, size], RGB, in the order of the ids.

    See `pictures.decode` for `fit` and `box_share`. `workers` processes decode (1: this one; None: this one for a
    second, then one a core); their number changes nothing in the file. Raises UserError for the first of `photos` that
    cannot be decoded, an id without a photo, a worker that dies, a disk too full: what was at `path` then stays.
    """
    rows = {image_id: row for row, image_id in enumerate(image_ids)}
    wanted = ((rows.pop(photo.image_id), photo) for photo in photos if photo.image_id in rows)
    with (
        writing_rows(path, "images", (len(rows), 3, size, size)) as file,
        progress(None, "decode", "image", total=len(rows)) as bar,
    ):
        with closing(_done(_Job(file, size, fit, box_share), wanted, workers)) as done:
            for _ in done:
                bar.update()
        if rows:
            raise UserError(f"captions.csv names image {min(rows)}, but the archive has no photo of it: {MEND}")


@dataclass(frozen=True)
class _Job:
    """What a worker does with a parcel of photos, each with its row; pickled with it."""

    file: Rows
    size: int
    fit: pictures.Fit
    box_share: float | None

    def __call__(self, parcel: Sequence[tuple[int, Photo]]) -> None:
        for row, photo in parcel:
            self.file.write(row, pictures.decode(photo, self.size, self.fit, self.box_share))


def _done(job: _Job, wanted: Iterator[tuple[int, Photo]], workers: int | None) -> Generator[None, None, None]:
    """Yield once for each photo done, in their order, so that the first broken one is the one that is named."""
    if workers is None:
        workers, until = cores(), time.monotonic() + _ALONE
    else:
        until = -math.inf
    while workers == 1 or time.monotonic() < until:
        following = next(wanted, None)
        if following is None:
            return
        job([following])
        yield
    yield from _in_parallel(job, wanted, workers)


def _in_parallel(job: _Job, wanted: Iterable[tuple[int, Photo]], workers: int) -> Generator[None, None, None]:
    pending: deque[_Sent] = deque()
    # spawn: the same on every system, and no thread or lock of this process is copied half-way.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_enlist)
    try:
        for parcel in _parcels(wanted):
            pending.append(_Sent(parcel[0][1].member, parcel[-1][1].member, len(parcel), pool.submit(job, parcel)))
            if len(pending) == _AHEAD * workers:
                yield from _first(pending)
        while pending:
            yield from _first(pending)
    except BrokenProcessPool:
        # Parcels are handed out in order: those a worker had in hand are the first that are not done.
        in_hand = [f"{sent.first} to {sent.last}" for sent in pending if not _succeeded(sent.future)][:workers]
        raise UserError(
            f"a process that decoded {' or '.join(in_hand)} died (killed, out of memory, or crashed by the photo): "
            "run again; if it dies at the same place, take those photos out of the archive"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


class _Sent(NamedTuple):
    """A parcel on its way: its first and last photo, how many they are, and when they are done."""

    first: str
    last: str
    photos: int
    future: Future[None]


def _parcels(wanted: Iterable[tuple[int, Photo]]) -> Iterator[list[tuple[int, Photo]]]:
    parcel: list[tuple[int, Photo]] = []
    for row, photo in wanted:
        parcel.append((row, photo))
        if len(parcel) == _PARCEL or sum(len(each.data) for _, each in parcel) >= _PARCEL_BYTES:
            yield parcel
            parcel = []
    if parcel:
        yield parcel


def _first(pending: deque[_Sent]) -> Iterator[None]:
    """Wait for the first parcel; once for each of its photos."""
    pending[0].future.result()
    yield from itertools.repeat(None, pending.popleft().photos)


def _succeeded(future: Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _enlist() -> None:
    """What a worker does first: leave Ctrl-C, which reaches the whole group, to the parent, and never outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # the other threads wait for work that will not come


def cores() -> int:
    """Cores this process may use, which in a container or a batch job are fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
