"""The tensor of all pictures: any number of processes, the same file; whole or absent; in little memory."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import tiny_flowers as tiny

from textbloom.core.errors import UserError
from textbloom.core.tensors import load_image_ids, load_tensors
from textbloom.data import image_ids, picture_tensor, pictures
from textbloom.data.base import Box, Photo


def photo(data: bytes, image_id: int = 1) -> Photo:
    return Photo(image_id, tiny.photo_name(image_id), data)


def photos(count: int) -> list[Photo]:
    """Of several shapes, each with a box."""
    return [
        Photo(id_, tiny.photo_name(id_), tiny.jpeg(id_, 100 + 20 * (id_ % 7), 80), Box(10 + id_, 20, 30, 20))
        for id_ in range(1, count + 1)
    ]


@pytest.mark.parametrize("workers", [1, 2, 5, None])
def test_the_order_follows_the_ids_whatever_the_archives_order_and_the_number_of_workers(workers, tmp_path):
    archive = photos(40)
    expected = {each.image_id: pictures.decode(each, 64, "pad", 0.75) for each in archive}
    random.Random(0).shuffle(archive)
    used = sorted(expected)[::3]
    picture_tensor.write(tmp_path / "a", archive, used, 64, "pad", 0.75, workers)
    images = load_tensors(tmp_path / "a")["images"].numpy()
    np.testing.assert_array_equal(images, np.stack([expected[id_] for id_ in used]))


def test_a_long_job_that_grows_out_of_one_process_gives_the_same_file(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_tensor, "_ALONE", 0.01)
    monkeypatch.setattr(picture_tensor, "cores", lambda: 2)
    picture_tensor.write(tmp_path / "a", photos(60), range(1, 61), 64)
    picture_tensor.write(tmp_path / "b", photos(60), range(1, 61), 64, workers=1)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_of_several_broken_pictures_the_first_in_the_archive_is_named(tmp_path):
    archive = [photo(tiny.jpeg(id_) if id_ % 5 else b"broken", id_) for id_ in range(1, 40)]
    with pytest.raises(UserError, match=re.escape(tiny.photo_name(5))):
        picture_tensor.write(tmp_path / "a", archive, range(1, 40), 64, workers=3)
    assert list(tmp_path.iterdir()) == []


def test_photos_are_taken_from_the_archive_only_as_fast_as_they_are_decoded(tmp_path, monkeypatch):
    done: list[int] = []
    ahead: list[int] = []

    class Lazy(Future):
        """Decoded when it is waited for, so that all that was taken before lies waiting."""

        def __init__(self, photos: int) -> None:
            super().__init__()
            self.photos = photos

        def result(self, timeout: float | None = None) -> None:
            done.extend([1] * self.photos)

    class Pool:
        def __init__(self, *args: object, **options: object) -> None: ...

        def submit(self, job: object, parcel: list[object]) -> Lazy:
            return Lazy(len(parcel))

        def shutdown(self, cancel_futures: bool) -> None: ...

    def archive():
        for id_ in range(200):
            ahead.append(id_ - len(done))
            yield photo(b"", id_)

    monkeypatch.setattr(picture_tensor, "ProcessPoolExecutor", Pool)
    picture_tensor.write(tmp_path / "a", archive(), range(200), 8, workers=2)
    assert len(done) == 200
    assert max(ahead) <= 2 * picture_tensor._AHEAD * picture_tensor._PARCEL


@pytest.mark.parametrize("workers", [1, 2])
def test_an_id_without_a_photo_is_named(workers, tmp_path):
    with pytest.raises(UserError, match="image 2"):
        picture_tensor.write(tmp_path / "a", [photo(tiny.jpeg(1))], [1, 2, 3], 64, workers=workers)
    assert list(tmp_path.iterdir()) == []


class Deadly(Photo):
    """Kills the process that unpickles it, as a crash of the decoder would."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return signal.raise_signal, (signal.SIGKILL,)


def test_a_worker_that_dies_is_one_line_that_names_the_pictures_it_had_in_hand(tmp_path):
    archive = photos(40)
    archive[19] = Deadly(20, tiny.photo_name(20), b"")
    (tmp_path / "a").write_text("earlier")
    with pytest.raises(UserError, match=r"a process that decoded .* died") as caught:
        picture_tensor.write(tmp_path / "a", archive, range(1, 41), 64, workers=2)
    named = [int(number) for number in re.findall(r"image_(\d+)", str(caught.value))]
    assert any(
        first <= 20 <= last < first + picture_tensor._PARCEL
        for first, last in zip(named[::2], named[1::2], strict=True)
    )
    assert "run again" in str(caught.value)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["earlier"]


# A stage of its own: writes into the file it is told, tells its workers' ids and everybody's peak memory.
STAGE = """
import itertools, multiprocessing, os, sys
from pathlib import Path
from textbloom.core import errors
from textbloom.data import picture_tensor
from textbloom.data.base import Photo

def peak(pid):
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0])

def photos(data, count):
    for id_ in range(count):
        if id_ == 100:
            print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        yield Photo(id_, str(id_), data)
    workers = multiprocessing.active_children()
    print(*(peak(pid) for pid in (os.getpid(), *(child.pid for child in workers))), flush=True)

def main():
    target, source, count = sys.argv[1:]
    archive = photos(Path(source).read_bytes(), int(count))
    picture_tensor.write(Path(target), archive, range(int(count)), 256, workers=2)

if __name__ == "__main__":
    errors.run(main)
"""


def stage(folder: Path, count: int) -> "subprocess.Popen[str]":
    (folder / "stage.py").write_text(STAGE)
    (folder / "source.jpg").write_bytes(tiny.jpeg(1))
    return subprocess.Popen(
        [sys.executable, "stage.py", "target", "source.jpg", str(count)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(picture_tensor.__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background jobs, a test run among them, ignore Ctrl-C, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


@pytest.mark.parametrize(
    ("stop", "said"), [("SIGKILL to the parent", ""), ("Ctrl-C", "interrupted"), ("SIGTERM to the parent", "")]
)
def test_a_stopped_stage_leaves_the_earlier_file_and_no_process_behind(stop, said, tmp_path):
    (tmp_path / "target").write_text("earlier")
    with stage(tmp_path, 20_000) as process:
        assert process.stdout is not None
        workers = [int(pid) for pid in process.stdout.readline().split()]
        assert len(workers) == 2
        if stop == "Ctrl-C":  # reaches the whole group
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGKILL if "KILL" in stop else signal.SIGTERM)
        try:
            _, errors = process.communicate(timeout=20)  # up to the end of the last worker, which holds stderr too
        finally:
            time.sleep(0.2)  # a process closes its files a little before its end
            left = [pid for pid in workers if alive(pid)]
            for pid in left:
                os.kill(pid, signal.SIGKILL)
    assert left == []
    assert process.returncode != 0
    last = errors.strip().split("\n")[-1]
    assert last.startswith(said)
    assert (tmp_path / "target").read_text() == "earlier"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads peak memory from /proc")
def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path):
    peaks = []
    for count in (200, 800):
        with stage(tmp_path, count) as process:
            output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        peaks.append([int(value) for value in output.splitlines()[-1].split()])
        assert (tmp_path / "target").stat().st_size > count * 3 * 256 * 256
    assert len(peaks[0]) == 3
    # 600 pictures more are 115 MiB more in the file.
    assert max(more - less for less, more in zip(*map(sorted, peaks), strict=True)) < 10 * 2**10


def test_workers_load_no_torch():
    code = "import sys; import textbloom.data.picture_tensor, textbloom.data.image_ids; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "PIL.Image" in loaded
    assert not {"torch", "pandas", "scipy"} & set(loaded)


def test_the_ids_of_the_captions_become_the_order_of_the_pictures(tmp_path):
    rows = ["image_id,class_id,split,caption_index,caption", '12,1,train,0,"a, b"', "3,1,train,0,c", "12,1,train,1,d"]
    (tmp_path / "captions.csv").write_text("\n".join(rows) + "\n")
    ids = image_ids.captioned(tmp_path / "captions.csv")
    assert ids == [3, 12]
    image_ids.write(tmp_path / "ids.csv", ids)
    assert load_image_ids(tmp_path / "ids.csv").tolist() == ids
    with pytest.raises(UserError, match=r"none\.csv is missing.*make repro"):
        image_ids.captioned(tmp_path / "none.csv")
