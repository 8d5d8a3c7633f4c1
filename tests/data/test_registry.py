"""The folder of a data set's archives: with its manifest, whole, verified on arrival, or as it was."""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from support import tiny_flowers as tiny

from textbloom.core.errors import UserError
from textbloom.data import flowers102, registry
from textbloom.data.base import Options
from textbloom.sources import flowers102 as source

FIRST = (flowers102.PHOTOS, flowers102.CAPTIONS, flowers102.LABELS, flowers102.SETS)
SECOND = (flowers102.BOTH, flowers102.LABELS, flowers102.SETS)
SEEDS = range(3)


def content(folder: Path) -> object:
    """All that the reader gives of a folder."""
    entries = flowers102.entries(folder)
    split_of = flowers102.PUBLISHED_SPLITS["class-disjoint"](folder, entries)
    return entries, split_of, {photo.image_id: photo.data for photo in flowers102.photos(folder)}


def stored(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Bench:
    """A folder of either set of files, and the raw folder that is filled from it."""

    def __init__(self, root: Path, which: str) -> None:
        self.names = FIRST if which == "first" else SECOND
        write = tiny.write if which == "first" else tiny.write_second
        self.mirror = write(root / "mirror", **({} if which == "first" else {"extras": True}))
        self.sound = stored(self.mirror)
        self.raw = root / "raw" / "flowers102"
        self.keep = root / "keep"
        self.fill()
        self._truth, self._before = content(self.raw), stored(self.raw)

    def fill(self) -> None:
        registry.fill("flowers102", self.raw, source, Options(self.keep, str(self.mirror), "recorded"))

    def survives(self, *changed: str) -> bool:
        """Fill from the changed files: it gives what it should, or is refused by name; returns whether it was."""
        refused = ""
        try:
            self.fill()
        except UserError as error:
            refused = str(error)
        if refused:
            assert any(name in refused for name in changed) and "\n" not in refused
            assert stored(self.raw) == self._before
        else:
            assert content(self.raw) == self._truth
        assert [path.name for path in self.raw.parent.iterdir()] == ["flowers102"]
        for name in changed:
            (self.mirror / name).write_bytes(self.sound[name])
        self._before = stored(self.raw)
        return bool(refused)


def test_a_data_set_comes_with_a_manifest_and_the_same_bytes_each_time(tmp_path):
    bench = Bench(tmp_path, "first")
    manifest = (bench.raw / "manifest.json").read_bytes()
    assert json.loads(manifest)["dataset"] == "flowers102"
    files = json.loads(manifest)["files"]
    assert set(files) == set(FIRST) == {path.name for path in bench.raw.iterdir()} - {"manifest.json"}
    for name, entry in files.items():
        whole = bench.sound[name]
        digest = hashlib.sha256(whole).hexdigest()
        assert entry == {"source": str(bench.mirror / name), "bytes": len(whole), "sha256": digest}
    bench.fill()
    assert (bench.raw / "manifest.json").read_bytes() == manifest


def cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def flip(data: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]


def swap(data: bytes, dice: random.Random) -> bytes:
    size = dice.randrange(1, len(data) // 4)
    one, two = sorted((dice.randrange(len(data) // 2 - size), dice.randrange(len(data) // 2, len(data) - size)))
    between = data[one + size : two]
    return data[:one] + data[two : two + size] + between + data[one : one + size] + data[two + size :]


def blank(data: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(data) - 16)
    return data[:place] + bytes(16) + data[place + 16 :]


def leave_out(data: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(data) - 16)
    return data[:place] + data[place + 16 :]


def append(data: bytes, dice: random.Random) -> bytes:
    return data + dice.randbytes(dice.randrange(1, 1000))


HARMS: list[Callable[[bytes, random.Random], bytes]] = [cut, flip, swap, blank, leave_out, append]


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("which", ["first", "second"])
def test_a_damaged_file_is_refused_by_name_or_read_as_if_sound(tmp_path, which, harm):
    bench = Bench(tmp_path, which)
    for name in set(bench.names) - {flowers102.SETS}:  # which is read where data.split asks for it
        refused = 0
        for seed in SEEDS:
            damaged = harm(bench.sound[name], random.Random(f"{harm.__name__} {seed}"))
            (bench.mirror / name).write_bytes(damaged)
            refused += bench.survives(name)
        # What passes lies in bytes that no content depends on, such as times.
        if harm is cut:
            assert refused == len(SEEDS)
    assert not bench.survives()


@pytest.mark.parametrize("which", ["first", "second"])
def test_files_under_each_others_names_are_refused(tmp_path, which):
    bench = Bench(tmp_path, which)
    for one, two in [(one, two) for one in bench.names for two in bench.names if one < two]:
        (bench.mirror / one).write_bytes(bench.sound[two])
        (bench.mirror / two).write_bytes(bench.sound[one])
        assert bench.survives(one, two)


@pytest.mark.parametrize("gone", ["images/image_00002.jpg", "captions/image_00002.txt"])
@pytest.mark.parametrize("extras", [True, False], ids=["labelled", "unlabelled"])
def test_photos_and_captions_that_are_not_of_the_same_images_are_refused(tmp_path, gone, extras):
    members = tiny.photos_and_texts()
    del members[f"cvpr2016_flowers/{gone}"]
    tiny.write_second(tmp_path / "mirror", members, extras)
    with pytest.raises(UserError, match=r"cvpr2016_flowers\.zip.*: image 2 is only in one of them"):
        registry.fill("flowers102", tmp_path / "raw", source, Options(tmp_path / "keep", str(tmp_path / "mirror")))


def test_another_archive_under_the_name_is_refused(tmp_path):
    tiny.write_second(tmp_path / "mirror", {"cats/1.jpg": tiny.jpeg(1)})
    with pytest.raises(UserError, match=r"cvpr2016_flowers\.zip.*other archives"):
        registry.fill("flowers102", tmp_path / "raw", source, Options(tmp_path / "keep", str(tmp_path / "mirror")))
