"""The tensor of all pictures: the file that would be written at once, whatever the threads; whole or absent."""

import errno
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support import tiny_flowers as tiny
from support.pictures import photo

from textbloom.core.errors import UserError
from textbloom.core.tensors import load_image_ids, save_tensors
from textbloom.data import images
from textbloom.data.base import Box, Photo
from textbloom.data.decoding import decode

SOURCE = Path(images.__file__).parents[2]


def photos(count: int) -> list[Photo]:
    """Of several shapes, each with a box."""
    return [
        Photo(id_, tiny.photo_name(id_), tiny.jpeg(id_, 100 + 20 * (id_ % 7), 80), Box(10 + id_, 20, 30, 20))
        for id_ in range(1, count + 1)
    ]


@pytest.mark.parametrize("threads", [1, 3, None])
def test_the_file_is_that_of_all_pictures_saved_at_once_in_the_order_of_the_ids(threads, tmp_path):
    archive = photos(60)
    pixels = {each.image_id: decode(each, 64, "pad", 0.75) for each in archive}
    used = sorted(pixels)[::2]
    save_tensors(tmp_path / "a", {"images": torch.from_numpy(np.stack([pixels[id_] for id_ in used]))})
    random.Random(0).shuffle(archive)
    images.write(tmp_path / "b", archive, used, 64, "pad", 0.75, threads)
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
    assert (tmp_path / "b").stat().st_mode == (tmp_path / "a").stat().st_mode


def test_larger_pictures_are_the_same_photos_beside_the_others(tmp_path):
    archive = photos(9)
    whole = [np.stack([decode(each, side, "crop", 0.75) for each in archive]) for side in (64, 76)]
    save_tensors(tmp_path / "a", dict(zip(("images", "larger"), map(torch.from_numpy, whole), strict=True)))
    images.write(tmp_path / "b", archive, range(1, 10), 64, "crop", 0.75, larger=True)
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


def test_pictures_are_decoded_without_shared_memory_or_other_processes(tmp_path):
    # As where /dev/shm is absent, read-only or full: a lock between processes cannot be made.
    code = """
import _multiprocessing, errno, os, subprocess, sys
from pathlib import Path

class SemLock:
    SEM_VALUE_MAX = 1
    def __new__(cls, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

def refuse(*_, **__):
    raise AssertionError("another process")

_multiprocessing.SemLock, os.fork, subprocess.Popen = SemLock, refuse, refuse
from support import tiny_flowers as tiny
from textbloom.data import images
from textbloom.data.base import Photo

images.write(Path(sys.argv[1]), (Photo(id_, str(id_), tiny.jpeg(id_)) for id_ in range(9)), range(9), 64, threads=3)
"""
    environment = {**os.environ, "PYTHONPATH": f"{SOURCE}:{Path(__file__).parents[1]}"}
    subprocess.run([sys.executable, "-c", code, tmp_path / "a"], env=environment, check=True, stderr=subprocess.DEVNULL)
    assert (tmp_path / "a").stat().st_size > 9 * 3 * 64**2


def test_of_several_broken_pictures_the_first_in_the_archive_is_named_and_the_earlier_file_stays(tmp_path):
    archive = [photo(tiny.jpeg(id_) if id_ % 5 else b"broken", id_) for id_ in range(1, 40)]
    (tmp_path / "a").write_text("earlier")
    with pytest.raises(UserError, match=re.escape(tiny.photo_name(5))):
        images.write(tmp_path / "a", archive, range(1, 40), 64, threads=3)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["earlier"]


def test_an_id_without_a_photo_is_named(tmp_path):
    with pytest.raises(UserError, match="image 2"):
        images.write(tmp_path / "a", [photo(tiny.jpeg(1))], [1, 2, 3], 64)
    assert list(tmp_path.iterdir()) == []


def test_damaged_exif_is_passed_over_without_a_word(tmp_path, recwarn):
    whole = tiny.jpeg(1)
    entry = b"\x01\x12\0\x03" + b"\xff" * 8  # the orientation, said to be longer than any file
    exif = b"\xff\xe1\0\x40Exif\0\0MM\0*\0\0\0\x08\0\x01" + entry
    damaged = photo(whole[:2] + exif.ljust(66, b"\0") + whole[2:])
    with pytest.warns(UserWarning, match="EXIF|Tag"):
        decode(damaged, 64)
    images.write(tmp_path / "a", [damaged], [1], 64)
    assert not recwarn.list


def test_photos_are_taken_from_the_archive_only_as_fast_as_they_are_decoded(tmp_path):
    rows: list[int] = []
    ahead: list[int] = []

    class Counting(Photo):
        """Counts as done once its bytes were asked for."""

        @property
        def data(self) -> bytes:
            rows.append(self.image_id)
            return whole

        @data.setter
        def data(self, value: bytes) -> None: ...

    whole = tiny.jpeg(1)

    def archive():
        for id_ in range(200):
            ahead.append(id_ - len(rows))
            yield Counting(id_, str(id_), b"")

    images.write(tmp_path / "a", archive(), range(200), 64, threads=2)
    assert len(rows) == 200
    assert max(ahead) <= 2 * images.AHEAD


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="needs a system that takes a file's room in advance")
def test_a_disk_without_room_is_refused_before_a_picture_is_decoded(tmp_path, monkeypatch):
    def nothing():
        raise AssertionError("no photo should be asked for")
        yield

    def full(file, start, length):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a").write_text("earlier")
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        images.write(tmp_path / "a", nothing(), [1, 2], 64)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["earlier"]


# A stage of its own, which tells when it has begun and how much memory it took at most.
STAGE = """
import resource, sys
from pathlib import Path
from textbloom.core import errors
from textbloom.data import images
from textbloom.data.base import Photo

def photos(data, count):
    for id_ in range(count):
        if id_ == 100:
            print("begun", flush=True)
        yield Photo(id_, str(id_), data)

def main():
    target, source, count = sys.argv[1:]
    images.write(Path(target), photos(Path(source).read_bytes(), int(count)), range(int(count)), 256, threads=2)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

errors.run(main)
"""


def stage(folder: Path, count: int) -> "subprocess.Popen[str]":
    (folder / "source.jpg").write_bytes(tiny.jpeg(1))
    return subprocess.Popen(
        [sys.executable, "-c", STAGE, "target", "source.jpg", str(count)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, a test run among them, ignore Ctrl-C, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGKILL, ""), (signal.SIGINT, "interrupted")], ids=["SIGKILL", "Ctrl-C"]
)
def test_a_stopped_stage_ends_at_once_and_leaves_the_earlier_file(number, said, tmp_path):
    (tmp_path / "target").write_text("earlier")
    with stage(tmp_path, 20_000) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    assert process.returncode != 0
    assert errors.strip().split("\n")[-1].startswith(said)
    assert (tmp_path / "target").read_text() == "earlier"
    (tmp_path / ".partial-target").unlink(missing_ok=True)  # 4 GB that a kill leaves for the next run to overwrite


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path):
    peaks = []
    for count in (200, 800):
        with stage(tmp_path, count) as process:
            output, _ = process.communicate(timeout=60)
        peaks.append(int(output.splitlines()[-1]))
    # 600 pictures more are 115 MiB more in the file.
    assert peaks[1] - peaks[0] < 10 * 2**10


def test_the_ids_are_the_index_of_the_rows(tmp_path):
    images.write_ids(tmp_path / "ids.csv", [3, 12])
    assert load_image_ids(tmp_path / "ids.csv").tolist() == [3, 12]
